// Attention over a plain cache, with products of a warp: a position alone in its span, and spans of
// many positions.
#include "device/chunk.cuh"
#include "device/gather.cuh"

extern __shared__ __align__(128) uint8_t room[];

constexpr int PIECE_WARPS = CHUNK / 16;
constexpr int SPAN_WARPS = 4;

// Of large heads, values take the place of keys.
template <int DIM>
constexpr bool BOTH = DIM <= 128;

// A piece of a position, chunk by chunk. Each of eight warps scores sixteen positions of a chunk, and
// sums up an eighth of the columns.
template <int DIM>
struct Lone {
    static constexpr int THREADS = 32 * PIECE_WARPS;
    static constexpr int TILES = DIM / 8 / PIECE_WARPS;
    static constexpr int STRIDE = CHUNK + 8;
    using Keys = Chunk<DIM, THREADS>;
    using Sums = Part<TILES>;
    using Pieces = Gather<QUERIES, THREADS>;

    struct Room {
        float largest[PIECE_WARPS][QUERIES];
        alignas(16) __half shares[QUERIES * STRIDE];
        typename Pieces::Room pieces;
    };

    static __device__ void run(const Attention& p, Room& room_of) {
        release_next();
        wait_for_previous();
        const Piece piece = p.pieces[blockIdx.x];
        if (piece.token == NO_TOKEN) return;
        const int head = blockIdx.y, position = piece.position;
        const int first_head = head * p.sharing() + p.head_tile * QUERIES;
        const int heads = min(QUERIES, p.sharing() - p.head_tile * QUERIES);
        uint32_t queries[DIM / 16][4];
        const float* qkv = p.qkv + piece.token * p.width();
        Keys::queries(p, [&](int row) {
            return row < heads ? qkv + (first_head + row) * p.shape.dim : nullptr;
        }, queries);
        const bool split = piece.pieces > 1;
        Sums total;
        for (int stretch = max(piece.begin, p.first(position) / STRETCH); stretch < piece.end;
             ++stretch) {
            Sums part;
            const int begin = max(stretch * STRETCH, p.first(position) / CHUNK * CHUNK);
            const int end = min(position + 1, (stretch + 1) * STRETCH);
            for (int start = begin; start < end; start += CHUNK) {
                add_chunk(p, piece, head, start, queries, room_of, part);
            }
            total.fold(part);
            if (split && (piece.begin > 0 || stretch + 1 == piece.end)) {
                leave(p, p.partial_of(Pieces::slot_of(piece, stretch), head), total);
                total = Sums();
            }
        }
        if (!split) {
            store(p, piece, first_head, heads, total);
        } else if (Pieces::last_to_arrive(p, piece, head)) {
            Pieces::fold(p, piece, head, first_head, heads, room_of.pieces);
        }
    }

    static __device__ void add_chunk(const Attention& p, const Piece& piece, int head, int start,
                                     const uint32_t (&queries)[DIM / 16][4], Room& room_of,
                                     Sums& part) {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        const int position = piece.position, end = min(position + 1, start + CHUNK);
        auto keys = reinterpret_cast<__half*>(room);
        __half* values = BOTH<DIM> ? keys + Keys::ELEMENTS : keys;
        const typename Keys::Rows rows(p, p.blocks + piece.blocks, head, start, end);
        // The chunk before has been read.
        __syncthreads();
        Keys::fetch(p, rows, 0, start, end, keys);
        copies_commit();
        if (BOTH<DIM>) {
            Keys::fetch(p, rows, p.shape.block_size, start, end, values);
            copies_commit();
        }
        copies_wait<BOTH<DIM> ? 1 : 0>();
        __syncthreads();
        float scores[2][4], most[2] = {-INFINITY, -INFINITY};
        Keys::score(keys, queries, warp * 16, scores);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            int at = start + warp * 16 + i / 4 * 8 + lane % 4 * 2 + i % 2;
            float& score = scores[i / 4][i % 4];
            score = at <= position && at >= p.first(position) ? score : -INFINITY;
            most[i % 4 / 2] = fmaxf(most[i % 4 / 2], score);
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            most[i] = row_max(most[i]);
            if (lane % 4 == 0) {
                room_of.largest[warp][lane / 4 + 8 * i] = most[i];
            }
        }
        __syncthreads();
        if (!BOTH<DIM>) {
            Keys::fetch(p, rows, p.shape.block_size, start, end, values);
            copies_commit();
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
#pragma unroll
            for (int other = 0; other < PIECE_WARPS; ++other) {
                most[i] = fmaxf(most[i], room_of.largest[other][lane / 4 + 8 * i]);
            }
        }
        part.raise(most);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            int row = lane / 4 + i % 2 * 8, col = warp * 16 + i / 2 * 8 + lane % 4 * 2;
            *reinterpret_cast<uint32_t*>(room_of.shares + row * STRIDE + col) =
                shares_of(scores[i / 2][i % 2 * 2], scores[i / 2][i % 2 * 2 + 1],
                          finite(part.most[i % 2]));
        }
        copies_wait<0>();
        __syncthreads();
#pragma unroll
        for (int step = 0; step < CHUNK / 16; ++step) {
            uint32_t a[4];
            load_tiles(a, room_of.shares + lane % 16 * STRIDE + step * 16 + lane / 16 * 8);
            Keys::add(values, a, step * 16, warp * TILES * 8, part);
        }
    }

    // What a thread has: `each` is called with a query, a column, and what was summed there, times
    // `by` for each of the thread's queries.
    template <class Each>
    static __device__ void each(const Sums& total, const float (&by)[2], Each each) {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
        for (int i = 0; i < TILES * 4; ++i) {
            each(lane / 4 + i % 4 / 2 * 8, (warp * TILES + i / 4) * 8 + lane % 4 * 2 + i % 2,
                 total.out[i / 4][i % 4] * by[i % 4 / 2]);
        }
    }

    static __device__ void leave(const Attention& p, float* to, const Sums& total) {
        const int lane = threadIdx.x % 32, dim = p.shape.dim;
        each(total, {1.0f, 1.0f}, [&](int query, int col, float value) {
            if (col < dim) {
                to[col * QUERIES + query] = value;
            }
        });
        if (threadIdx.x / 32 == 0 && lane % 4 == 0) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                to[dim * QUERIES + lane / 4 + 8 * i] = total.most[i];
                to[(dim + 1) * QUERIES + lane / 4 + 8 * i] = total.sum[2 * i];
            }
        }
    }

    static __device__ void store(const Attention& p, const Piece& piece, int first_head, int heads,
                                 const Sums& total) {
        const int dim = p.shape.dim;
        bf16* out = p.out + (static_cast<size_t>(piece.token) * p.queries + first_head) * dim;
        each(total, {1.0f / total.sum[0], 1.0f / total.sum[2]}, [&](int query, int col, float value) {
            if (query < heads && col < dim) {
                out[query * dim + col] = __float2bfloat16_rn(value);
            }
        });
    }
};

// Sixty-four queries of a span, sixteen for each warp; all share the loads of chunks. Queries are
// counted position by position, a position's heads one after the other.
template <int DIM>
__device__ void attend_span(const Attention& p) {
    using Keys = Chunk<DIM, 32 * SPAN_WARPS>;
    constexpr int TILES = DIM / 8, TILE = SPAN_WARPS * 16;
    release_next();
    wait_for_previous();
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int sharing = p.sharing(), head = blockIdx.y, dim = p.shape.dim;
    // The last tiles of a span see the most, so they come first.
    int tile = gridDim.x - 1 - blockIdx.x;
    const Span span = find_span(p, tile, TILE);
    const int base = tile * TILE, all = span.count * sharing;
    const uint32_t* blocks = p.blocks + span.blocks;
    const int mine = base + warp * 16;
    int positions[2], firsts[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        positions[i] = span.start + min(mine + lane / 4 + 8 * i, all - 1) / sharing;
        firsts[i] = p.first(positions[i]);
    }
    const int begin = p.first(span.start + base / sharing) / CHUNK * CHUNK;
    const int end = span.start + min(base + TILE - 1, all - 1) / sharing + 1;
    auto keys = reinterpret_cast<__half*>(room);
    __half* values = BOTH<DIM> ? keys + Keys::ELEMENTS : keys;

    uint32_t queries[DIM / 16][4];
    Keys::queries(p, [&](int row) {
        int query = mine + row;
        return query < all ? p.qkv + (span.first + query / sharing) * p.width() +
                                 (head * sharing + query % sharing) * dim
                           : nullptr;
    }, queries);
    Part<TILES> total, part;
    typename Keys::Rows rows(p, blocks, head, begin, end);
    Keys::fetch(p, rows, 0, begin, end, keys);
    copies_commit();
    if (BOTH<DIM>) {
        Keys::fetch(p, rows, p.shape.block_size, begin, end, values);
        copies_commit();
    }
    for (int start = begin; start < end; start += CHUNK) {
        copies_wait<BOTH<DIM> ? 1 : 0>();
        __syncthreads();
        float scores[CHUNK / 8][4], largest[2] = {-INFINITY, -INFINITY};
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
                largest[row] = fmaxf(largest[row], score);
            }
        }
        largest[0] = row_max(largest[0]), largest[1] = row_max(largest[1]);
        part.raise(largest);
        const float most[2] = {finite(part.most[0]), finite(part.most[1])};
        // Keys have been read: values take their place, or the next chunk's keys do meanwhile.
        const int next = start + CHUNK;
        __syncthreads();
        if (!BOTH<DIM>) {
            Keys::fetch(p, rows, p.shape.block_size, start, end, values);
        } else if (next < end) {
            rows = typename Keys::Rows(p, blocks, head, next, end);
            Keys::fetch(p, rows, 0, next, end, keys);
        }
        copies_commit();
        copies_wait<BOTH<DIM> ? 1 : 0>();
        __syncthreads();
#pragma unroll
        for (int step = 0; step < CHUNK / 16; ++step) {
            const float(&low)[4] = scores[step * 2], (&high)[4] = scores[step * 2 + 1];
            uint32_t a[4] = {
                shares_of(low[0], low[1], most[0]), shares_of(low[2], low[3], most[1]),
                shares_of(high[0], high[1], most[0]), shares_of(high[2], high[3], most[1])};
            Keys::add(values, a, step * 16, 0, part);
        }
        if (next % STRETCH == 0 || next >= end) {
            total.fold(part);
            part = Part<TILES>();
        }
        __syncthreads();
        if (BOTH<DIM> && next < end) {
            Keys::fetch(p, rows, p.shape.block_size, next, end, values);
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
        bf16* out = p.out + static_cast<size_t>(span.first + query / sharing) * p.queries * dim +
                    (head * sharing + query % sharing) * dim;
        const float by = 1.0f / total.sum[2 * i];
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile) {
            int col = tile * 8 + lane % 4 * 2;
            if (col < dim) {
                *reinterpret_cast<uint32_t*>(out + col) =
                    pair(total.out[tile][2 * i] * by, total.out[tile][2 * i + 1] * by);
            }
        }
    }
}

// Grid: pieces, or tiles of spans; heads of keys and values.
#define ATTEND(DIM)                                                                        \
    extern "C" __global__ void __launch_bounds__(32 * PIECE_WARPS)                         \
        attend_piece_##DIM(const __grid_constant__ Attention p) {                          \
        __shared__ Lone<DIM>::Room room_of;                                                \
        Lone<DIM>::run(p, room_of);                                                        \
    }                                                                                      \
    extern "C" __global__ void __launch_bounds__(32 * SPAN_WARPS)                          \
        attend_span_##DIM(const __grid_constant__ Attention p) {                           \
        attend_span<DIM>(p);                                                               \
    }
ATTEND(64)
ATTEND(128)
ATTEND(256)
