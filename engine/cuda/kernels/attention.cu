// Attention over the paged cache: a position alone in its span, cut into pieces for many blocks, and
// spans of many positions.
#include "device/attention.cuh"

extern __shared__ __align__(128) uint8_t room[];

// What a chunk counts beside those before it, and they beside it.
struct Weights {
    float before, its;
};

// Chunks that are folded together, so that their loads don't wait for one another.
constexpr int TOGETHER = 8;

// Folds the chunks of one position, the first of which is the piece `first`.
template <int DIM>
__device__ void fold(const Attention& p, Piece piece, size_t first, int head, int heads) {
    __shared__ Weights weights[TOGETHER][QUERIES];
    __shared__ float largest[QUERIES], sums[QUERIES];
    constexpr int EACH = QUERIES * DIM / THREADS;
    const auto partial = [&](int chunk, int row) {
        size_t at = ((first + chunk) * p.keys + head) * QUERIES + row;
        return p.partial + at * (p.dim + 2);
    };
    const int values = heads * p.dim;
    float totals[EACH] = {};
    for (int begin = 0; begin < piece.chunks; begin += TOGETHER) {
        const int count = min(TOGETHER, piece.chunks - begin);
        __syncthreads();
        if (threadIdx.x < heads) {
            const int row = threadIdx.x;
            float most = begin == 0 ? -INFINITY : largest[row];
            float sum = begin == 0 ? 0.0f : sums[row];
            float2 ends[TOGETHER];
#pragma unroll
            for (int i = 0; i < TOGETHER; ++i) {
                const float* end = partial(begin + min(i, count - 1), row) + p.dim;
                ends[i] = __ldcg(reinterpret_cast<const float2*>(end));
            }
#pragma unroll
            for (int i = 0; i < TOGETHER; ++i) {
                if (i < count) {
                    float next = fmaxf(most, ends[i].y);
                    Weights both = {exp2_fast(most - Running<1>::finite(next)),
                                    exp2_fast(ends[i].y - Running<1>::finite(next))};
                    sum = Running<1>::folded(sum, both.before, ends[i].x, both.its);
                    weights[i][row] = both;
                    most = next;
                }
            }
            largest[row] = most, sums[row] = sum;
        }
        __syncthreads();
#pragma unroll
        for (int nth = 0; nth < EACH; ++nth) {
            const int value = nth * THREADS + threadIdx.x;
            if (value < values) {
                const int row = value / p.dim, col = value % p.dim;
                float parts[TOGETHER];
#pragma unroll
                for (int i = 0; i < TOGETHER; ++i) {
                    parts[i] = i < count ? __ldcg(partial(begin + i, row) + col) : 0.0f;
                }
#pragma unroll
                for (int i = 0; i < TOGETHER; ++i) {
                    if (i < count) {
                        const Weights both = weights[i][row];
                        totals[nth] =
                            Running<1>::folded(totals[nth], both.before, parts[i], both.its);
                    }
                }
            }
        }
    }
#pragma unroll
    for (int nth = 0; nth < EACH; ++nth) {
        const int value = nth * THREADS + threadIdx.x;
        if (value < values) {
            const size_t token = static_cast<size_t>(piece.token) * p.queries;
            const int first_head = head * p.sharing() + p.head_tile * QUERIES;
            p.out[(token + first_head) * p.dim + value] =
                __float2bfloat16_rn(totals[nth] / sums[value / p.dim]);
        }
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

// One chunk of one position; the block that is the last to compute one folds them all. Four warps
// share a run: each scores sixteen of its positions, and each sums up a quarter of the columns.
template <int DIM>
__device__ void attend_piece(const Attention& p) {
    using Keys = Run<DIM>;
    constexpr int TILES = DIM / 32;
    constexpr int SHARES = RUN + 8;
    __shared__ float largest[4][QUERIES];
    __shared__ __align__(16) __half shares[QUERIES * SHARES];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    release_next();
    wait_for_previous();
    const Piece piece = p.pieces[blockIdx.x];
    const Span span = p.spans[piece.span];
    const int head = blockIdx.y, position = span.start + piece.token - span.first;
    const int first_head = head * p.sharing() + p.head_tile * QUERIES;
    const int heads = min(QUERIES, p.sharing() - p.head_tile * QUERIES);
    const size_t width = static_cast<size_t>(p.queries + 2 * p.keys) * p.dim;
    const int first = p.first(position);
    const int begin = max(piece.chunk * CHUNK, first / RUN * RUN);
    const int end = min(position + 1, (piece.chunk + 1) * CHUNK);
    const uint32_t* blocks = p.blocks + span.blocks;
    auto stages = reinterpret_cast<__half*>(room);

    // Both runs of the chunk at once.
    Keys::fetch(p, blocks, head, begin, end, stages);
    copies_commit();
    if (begin + RUN < end) {
        Keys::fetch(p, blocks, head, begin + RUN, end, stages + Keys::BYTES / 2);
    }
    copies_commit();
    uint32_t queries[DIM / 16][4];
    Keys::queries(p, [&](int row) {
        return row < heads ? p.qkv + piece.token * width + (first_head + row) * p.dim : nullptr;
    }, queries);
    Running<TILES> running;
    running.clear();
    int stage = 0;
    for (int start = begin; start < end; start += RUN, stage ^= 1) {
        copies_wait<1>();
        __syncthreads();
        const __half* keys = stages + stage * Keys::BYTES / 2;
        float scores[2][4];
        Keys::score(keys, queries, warp * 16, scores);
        float most[2] = {-INFINITY, -INFINITY};
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            int at = start + warp * 16 + i / 4 * 8 + lane % 4 * 2 + i % 2;
            float& score = scores[i / 4][i % 4];
            score = at <= position && at >= first ? score : -INFINITY;
            most[i % 4 / 2] = fmaxf(most[i % 4 / 2], score);
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            most[i] = row_max(most[i]);
            if (lane % 4 == 0) {
                largest[warp][lane / 4 + 8 * i] = most[i];
            }
        }
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            most[i] = running.most[i];
#pragma unroll
            for (int other = 0; other < 4; ++other) {
                most[i] = fmaxf(most[i], largest[other][lane / 4 + 8 * i]);
            }
        }
        running.raise(most);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            int row = lane / 4 + i % 2 * 8, col = warp * 16 + i / 2 * 8 + lane % 4 * 2;
            *reinterpret_cast<uint32_t*>(shares + row * SHARES + col) =
                shares_of(scores[i / 2][i % 2 * 2], scores[i / 2][i % 2 * 2 + 1],
                          Running<TILES>::finite(most[i % 2]));
        }
        __syncthreads();
#pragma unroll
        for (int step = 0; step < RUN / 16; ++step) {
            uint32_t a[4];
            load_tiles(a, shares + lane % 16 * SHARES + step * 16 + lane / 16 * 8);
            Keys::add(keys + RUN * Keys::STRIDE, a, step * 16, warp * TILES * 8, running);
        }
        copies_commit();
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        int row = lane / 4 + 8 * i;
        if (row >= heads) {
            continue;
        }
        size_t at = (static_cast<size_t>(blockIdx.x) * p.keys + head) * QUERIES + row;
        float* partial = p.partial + at * (p.dim + 2);
        bf16* out = p.out + static_cast<size_t>(piece.token) * p.queries * p.dim +
                    (first_head + row) * p.dim;
        if (piece.chunks > 1 && warp == 0 && lane % 4 == 0) {
            partial[p.dim] = running.sum[2 * i];
            partial[p.dim + 1] = running.most[i];
        }
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile) {
            int col = (warp * TILES + tile) * 8 + lane % 4 * 2;
            float low = running.out[tile][2 * i], high = running.out[tile][2 * i + 1];
            if (col >= p.dim) {
            } else if (piece.chunks > 1) {
                partial[col] = low, partial[col + 1] = high;
            } else {
                float sum = running.sum[2 * i];
                *reinterpret_cast<uint32_t*>(out + col) = pair(low / sum, high / sum);
            }
        }
    }
    if (piece.chunks > 1) {
        const size_t first_piece = blockIdx.x - piece.chunk;
        if (last_to_arrive(p.arrivals + first_piece * p.keys + head, piece.chunks)) {
            fold<DIM>(p, piece, first_piece, head, heads);
        }
    }
}

// Sixty-four queries of a span, sixteen for each warp; all share the loads of runs. Queries are
// counted position by position, a position's heads one after the other.
template <int DIM>
__device__ void attend_span(const Attention& p) {
    using Keys = Run<DIM>;
    constexpr int TILES = DIM / 8;
    release_next();
    wait_for_previous();
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int sharing = p.sharing(), head = blockIdx.y;
    int tile = blockIdx.x, number = 0;
    Span span = p.spans[0];
    for (;; span = p.spans[++number]) {
        int tiles = (span.count * sharing + 4 * QUERIES - 1) / (4 * QUERIES);
        if (tile < tiles) {
            break;
        }
        tile -= tiles;
    }
    const int base = tile * 4 * QUERIES, all = span.count * sharing;
    const size_t width = static_cast<size_t>(p.queries + 2 * p.keys) * p.dim;
    const uint32_t* blocks = p.blocks + span.blocks;
    const int mine = base + warp * QUERIES;
    int positions[2], firsts[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        positions[i] = span.start + min(mine + lane / 4 + 8 * i, all - 1) / sharing;
        firsts[i] = p.first(positions[i]);
    }
    const int begin = p.first(span.start + base / sharing) / RUN * RUN;
    const int end = span.start + min(base + 4 * QUERIES - 1, all - 1) / sharing + 1;
    auto stages = reinterpret_cast<__half*>(room);

    Keys::fetch(p, blocks, head, begin, end, stages);
    copies_commit();
    uint32_t queries[DIM / 16][4];
    Keys::queries(p, [&](int row) {
        int query = mine + row;
        return query < all ? p.qkv + (span.first + query / sharing) * width +
                                 (head * sharing + query % sharing) * p.dim
                           : nullptr;
    }, queries);
    Running<TILES> running, total;
    running.clear();
    total.clear();
    int stage = 0;
    for (int start = begin; start < end; start += RUN, stage ^= 1) {
        if (start + RUN < end) {
            Keys::fetch(p, blocks, head, start + RUN, end, stages + (stage ^ 1) * Keys::BYTES / 2);
        }
        copies_commit();
        copies_wait<1>();
        __syncthreads();
        const __half* keys = stages + stage * Keys::BYTES / 2;
        float scores[RUN / 8][4];
        float most[2] = {running.most[0], running.most[1]};
#pragma unroll
        for (int step = 0; step < RUN / 16; ++step) {
            float part[2][4];
            Keys::score(keys, queries, step * 16, part);
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                int at = start + step * 16 + i / 4 * 8 + lane % 4 * 2 + i % 2, row = i % 4 / 2;
                bool seen = at <= positions[row] && at >= firsts[row];
                float score = seen ? part[i / 4][i % 4] : -INFINITY;
                scores[step * 2 + i / 4][i % 4] = score;
                most[row] = fmaxf(most[row], score);
            }
        }
        most[0] = row_max(most[0]), most[1] = row_max(most[1]);
        running.raise(most);
        const float base0 = Running<TILES>::finite(most[0]);
        const float base1 = Running<TILES>::finite(most[1]);
#pragma unroll
        for (int step = 0; step < RUN / 16; ++step) {
            const float(&low)[4] = scores[step * 2], (&high)[4] = scores[step * 2 + 1];
            uint32_t a[4] = {shares_of(low[0], low[1], base0), shares_of(low[2], low[3], base1),
                             shares_of(high[0], high[1], base0), shares_of(high[2], high[3], base1)};
            Keys::add(keys + RUN * Keys::STRIDE, a, step * 16, 0, running);
        }
        __syncthreads();
        if ((start + RUN) % CHUNK == 0 || start + RUN >= end) {
            total.fold(running);
            running.clear();
        }
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
#define ATTEND(DIM)                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS)                                    \
        attend_piece_##DIM(const __grid_constant__ Attention p) {                            \
        attend_piece<DIM>(p);                                                                \
    }                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS)                                    \
        attend_span_##DIM(const __grid_constant__ Attention p) {                             \
        attend_span<DIM>(p);                                                                 \
    }
ATTEND(64)
ATTEND(128)
ATTEND(256)
