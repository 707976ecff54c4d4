// Attention over the paged cache: a position alone in its span, cut into pieces for many blocks, and
// spans of many positions.
#include "device/attention.cuh"

extern __shared__ __align__(128) uint8_t room[];

constexpr int PIECE_WARPS = CHUNK / 16;
constexpr int SPAN_WARPS = 4;

// Folds the chunks of one position, the first of which is the piece `first`: four columns a thread.
__device__ void fold(const Attention& p, Piece piece, size_t first, int head, int heads) {
    const size_t stride = p.dim + 4, next = p.keys * QUERIES * stride;
    for (int i = threadIdx.x * 4; i < heads * p.dim; i += blockDim.x * 4) {
        const int row = i / p.dim, col = i % p.dim;
        const float* partial = p.partial + ((first * p.keys + head) * QUERIES + row) * stride;
        float4 total = {};
        float sum = 0.0f, most = -INFINITY;
#pragma unroll 4
        for (int chunk = 0; chunk < piece.chunks; ++chunk, partial += next) {
            const float4 its = __ldcg(reinterpret_cast<const float4*>(partial + col));
            const float2 end = __ldcg(reinterpret_cast<const float2*>(partial + p.dim));
            const Fold fold(most, end.y);
            sum = fold(sum, end.x);
            total.x = fold(total.x, its.x), total.y = fold(total.y, its.y);
            total.z = fold(total.z, its.z), total.w = fold(total.w, its.w);
        }
        const int first_head = head * p.sharing() + p.head_tile * QUERIES;
        bf16* out = p.out + (static_cast<size_t>(piece.token) * p.queries + first_head) * p.dim + i;
        *reinterpret_cast<uint2*>(out) =
            make_uint2(pair(total.x / sum, total.y / sum), pair(total.z / sum, total.w / sum));
    }
}

// Whether all other chunks of the position have been left by their blocks.
__device__ bool last_to_arrive(int* arrivals, int chunks) {
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicAdd(arrivals, 1) == chunks - 1;
        if (last) {
            *arrivals = 0;
        }
    }
    __syncthreads();
    __threadfence();
    return last;
}

// One chunk of one position; the block that is the last to compute one folds them all. Each of eight
// warps scores sixteen positions, and sums up an eighth of the columns.
template <int DIM>
__device__ void attend_piece(const Attention& p) {
    constexpr int THREADS = 32 * PIECE_WARPS;
    using Keys = Chunk<DIM, THREADS>;
    constexpr int TILES = DIM / 8 / PIECE_WARPS;
    constexpr int SHARES = CHUNK + 8;
    // Of large heads, values take the place of keys.
    constexpr bool BOTH = DIM <= 128;
    __shared__ float largest[PIECE_WARPS][QUERIES];
    __shared__ __align__(16) __half shares[QUERIES * SHARES];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    release_next();
    wait_for_previous();
    const Piece piece = p.pieces[blockIdx.x];
    if (piece.token == NO_TOKEN) return;
    const int head = blockIdx.y, position = piece.position;
    const int first_head = head * p.sharing() + p.head_tile * QUERIES;
    const int heads = min(QUERIES, p.sharing() - p.head_tile * QUERIES);
    const int first = p.first(position), start = piece.chunk * CHUNK;
    const int end = min(position + 1, start + CHUNK);
    auto keys = reinterpret_cast<__half*>(room);
    __half* values = BOTH ? keys + Keys::ELEMENTS : keys;

    const typename Keys::Rows rows(p, p.blocks + piece.blocks, head, start, end);
    Keys::fetch(p, rows, 0, start, end, keys);
    copies_commit();
    if (BOTH) {
        Keys::fetch(p, rows, p.block_size, start, end, values);
        copies_commit();
    }
    uint32_t queries[DIM / 16][4];
    const float* qkv =
        p.qkv + static_cast<size_t>(piece.token) * (p.queries + 2 * p.keys) * p.dim;
    Keys::queries(p, [&](int row) {
        return row < heads ? qkv + (first_head + row) * p.dim : nullptr;
    }, queries);
    copies_wait<BOTH ? 1 : 0>();
    __syncthreads();
    float scores[2][4];
    Keys::score(keys, queries, warp * 16, scores);
    Part<TILES> part;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        int at = start + warp * 16 + i / 4 * 8 + lane % 4 * 2 + i % 2;
        float& score = scores[i / 4][i % 4];
        score = at <= position && at >= first ? score : -INFINITY;
        part.most[i % 4 / 2] = fmaxf(part.most[i % 4 / 2], score);
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        part.most[i] = row_max(part.most[i]);
        if (lane % 4 == 0) {
            largest[warp][lane / 4 + 8 * i] = part.most[i];
        }
    }
    __syncthreads();
    if (!BOTH) {
        Keys::fetch(p, rows, p.block_size, start, end, values);
        copies_commit();
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int other = 0; other < PIECE_WARPS; ++other) {
            part.most[i] = fmaxf(part.most[i], largest[other][lane / 4 + 8 * i]);
        }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        int row = lane / 4 + i % 2 * 8, col = warp * 16 + i / 2 * 8 + lane % 4 * 2;
        *reinterpret_cast<uint32_t*>(shares + row * SHARES + col) =
            shares_of(scores[i / 2][i % 2 * 2], scores[i / 2][i % 2 * 2 + 1],
                      finite(part.most[i % 2]));
    }
    copies_wait<0>();
    __syncthreads();
#pragma unroll
    for (int step = 0; step < CHUNK / 16; ++step) {
        uint32_t a[4];
        load_tiles(a, shares + lane % 16 * SHARES + step * 16 + lane / 16 * 8);
        Keys::add(values, a, step * 16, warp * TILES * 8, part);
    }
    // As if folded with nothing before it.
    const bool alone = piece.chunks == 1;
    const size_t stride = p.dim + 4;
    float* partial = p.partial +
                     ((static_cast<size_t>(blockIdx.x) * p.keys + head) * QUERIES) * stride;
    bf16* out = p.out + (static_cast<size_t>(piece.token) * p.queries + first_head) * p.dim;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const int row = lane / 4 + 8 * i;
        const float sum = part.sum[2 * i];
        if (row >= heads) {
            continue;
        }
        if (!alone && warp == 0 && lane % 4 == 0) {
            float2 end = make_float2(sum, part.most[i]);
            *reinterpret_cast<float2*>(partial + row * stride + p.dim) = end;
        }
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile) {
            const int col = (warp * TILES + tile) * 8 + lane % 4 * 2;
            const float low = part.out[tile][2 * i], high = part.out[tile][2 * i + 1];
            if (col >= p.dim) {
                continue;
            }
            if (alone) {
                *reinterpret_cast<uint32_t*>(out + row * p.dim + col) = pair(low / sum, high / sum);
            } else {
                float2 both = make_float2(low, high);
                *reinterpret_cast<float2*>(partial + row * stride + col) = both;
            }
        }
    }
    if (!alone) {
        const size_t first_piece = blockIdx.x - piece.chunk;
        if (last_to_arrive(p.arrivals + first_piece * p.keys + head, piece.chunks)) {
            fold(p, piece, first_piece, head, heads);
        }
    }
}

// Sixty-four queries of a span, sixteen for each warp; all share the loads of chunks. Queries are
// counted position by position, a position's heads one after the other.
template <int DIM>
__device__ void attend_span(const Attention& p) {
    using Keys = Chunk<DIM, 32 * SPAN_WARPS>;
    constexpr int TILES = DIM / 8, TILE = SPAN_WARPS * QUERIES;
    constexpr bool BOTH = DIM <= 128;
    release_next();
    wait_for_previous();
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int sharing = p.sharing(), head = blockIdx.y;
    // The last tiles of a span see the most, so they come first.
    int tile = gridDim.x - 1 - blockIdx.x, number = 0;
    Span span = p.spans[0];
    for (;; span = p.spans[++number]) {
        int tiles = (span.count * sharing + TILE - 1) / TILE;
        if (tile < tiles) {
            break;
        }
        tile -= tiles;
    }
    const int base = tile * TILE, all = span.count * sharing;
    const size_t width = static_cast<size_t>(p.queries + 2 * p.keys) * p.dim;
    const uint32_t* blocks = p.blocks + span.blocks;
    const int mine = base + warp * QUERIES;
    int positions[2], firsts[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        positions[i] = span.start + min(mine + lane / 4 + 8 * i, all - 1) / sharing;
        firsts[i] = p.first(positions[i]);
    }
    const int begin = p.first(span.start + base / sharing) / CHUNK * CHUNK;
    const int end = span.start + min(base + TILE - 1, all - 1) / sharing + 1;
    auto keys = reinterpret_cast<__half*>(room);
    __half* values = BOTH ? keys + Keys::ELEMENTS : keys;

    uint32_t queries[DIM / 16][4];
    Keys::queries(p, [&](int row) {
        int query = mine + row;
        return query < all ? p.qkv + (span.first + query / sharing) * width +
                                 (head * sharing + query % sharing) * p.dim
                           : nullptr;
    }, queries);
    Part<TILES> total;
    typename Keys::Rows rows(p, blocks, head, begin, end);
    Keys::fetch(p, rows, 0, begin, end, keys);
    copies_commit();
    if (BOTH) {
        Keys::fetch(p, rows, p.block_size, begin, end, values);
        copies_commit();
    }
    for (int start = begin; start < end; start += CHUNK) {
        copies_wait<BOTH ? 1 : 0>();
        __syncthreads();
        Part<TILES> part;
        float scores[CHUNK / 8][4];
#pragma unroll
        for (int step = 0; step < CHUNK / 16; ++step) {
            float some[2][4];
            Keys::score(keys, queries, step * 16, some);
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                int at = start + step * 16 + i / 4 * 8 + lane % 4 * 2 + i % 2, row = i % 4 / 2;
                bool seen = at <= positions[row] && at >= firsts[row];
                float score = seen ? some[i / 4][i % 4] : -INFINITY;
                scores[step * 2 + i / 4][i % 4] = score;
                part.most[row] = fmaxf(part.most[row], score);
            }
        }
        part.most[0] = row_max(part.most[0]), part.most[1] = row_max(part.most[1]);
        const float most[2] = {finite(part.most[0]), finite(part.most[1])};
        // Keys have been read: values take their place, or the next chunk's keys do meanwhile.
        const int next = start + CHUNK;
        __syncthreads();
        if (!BOTH) {
            Keys::fetch(p, rows, p.block_size, start, end, values);
        } else if (next < end) {
            rows = typename Keys::Rows(p, blocks, head, next, end);
            Keys::fetch(p, rows, 0, next, end, keys);
        }
        copies_commit();
        copies_wait<BOTH ? 1 : 0>();
        __syncthreads();
#pragma unroll
        for (int step = 0; step < CHUNK / 16; ++step) {
            const float(&low)[4] = scores[step * 2], (&high)[4] = scores[step * 2 + 1];
            uint32_t a[4] = {
                shares_of(low[0], low[1], most[0]), shares_of(low[2], low[3], most[1]),
                shares_of(high[0], high[1], most[0]), shares_of(high[2], high[3], most[1])};
            Keys::add(values, a, step * 16, 0, part);
        }
        total.fold(part);
        __syncthreads();
        if (BOTH && next < end) {
            Keys::fetch(p, rows, p.block_size, next, end, values);
        } else if (next < end) {
            rows = typename Keys::Rows(p, blocks, head, next, end);
            Keys::fetch(p, rows, 0, next, end, keys);
        }
        copies_commit();
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        int query = mine + lane / 4 + 8 * i;
        if (query >= all) {
            continue;
        }
        bf16* out = p.out + static_cast<size_t>(span.first + query / sharing) * p.queries * p.dim +
                    (head * sharing + query % sharing) * p.dim;
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile) {
            int col = tile * 8 + lane % 4 * 2;
            float sum = total.sum[2 * i];
            if (col < p.dim) {
                *reinterpret_cast<uint32_t*>(out + col) =
                    pair(total.out[tile][2 * i] / sum, total.out[tile][2 * i + 1] / sum);
            }
        }
    }
}

// Grid: pieces, or tiles of spans; heads of keys and values.
#define ATTEND(DIM)                                                                        \
    extern "C" __global__ void __launch_bounds__(32 * PIECE_WARPS)                         \
        attend_piece_##DIM(const __grid_constant__ Attention p) {                          \
        attend_piece<DIM>(p);                                                              \
    }                                                                                      \
    extern "C" __global__ void __launch_bounds__(32 * SPAN_WARPS)                          \
        attend_span_##DIM(const __grid_constant__ Attention p) {                           \
        attend_span<DIM>(p);                                                               \
    }
ATTEND(64)
ATTEND(128)
ATTEND(256)
