// Attention of spans of many positions over a tiled cache, with products of four warps together
// (Shah et al., "FlashAttention-3", 2024: a warp that copies, and products under way while
// probabilities are computed).
#include "device/attention.cuh"
#include "device/span_queries.cuh"
#include "ptx/bulk.cuh"
#include "ptx/wgmma_f16.cuh"

#if HAS_WGMMA

// Twice 64 queries of a span share the loads of chunks; queries are counted position by position, a
// position's heads one after the other.
template <int DIM>
struct Tile {
    static constexpr int GROUPS = 2, ROWS = 64, TILE = GROUPS * ROWS;
    static constexpr int THREADS = 128 * GROUPS;
    static constexpr int STAGES = 2;
    static constexpr int EIGHT = 8 * DIM * 2;  // bytes of eight positions
    static constexpr int SEGMENT = 1024;       // bytes of 64 columns of them
    static constexpr int TENSOR = CHUNK / 8 * EIGHT;
    static constexpr int COLUMNS = DIM / 8;
    using Queries = SpanQueries<DIM>;
    using Scores = float[CHUNK / 8][4];
    using Sums = float[COLUMNS][4];

    struct Room {
        uint8_t queries[GROUPS][ROWS * DIM * 2];
        uint8_t keys[STAGES][TENSOR];
        uint8_t values[STAGES][TENSOR];
        // Of each group.
        union {
            // Of stretches before, each thread's own.
            float total[COLUMNS * 4][128];
            // Of each warp, while queries are brought.
            typename Queries::Room queries[4];
        } sums[GROUPS];
        Barrier full[2][STAGES];  // of keys, of values
        Barrier empty[2][STAGES];
    };

    // Which queries, and the chunks that they see some of.
    struct Work {
        Span span;
        int head, base, all, begin, end;
        // Whoever sees some of these positions sees all.
        int plain_begin, plain_end;

        __device__ Work(const Attention& p) {
            const int heads = p.shape.heads, sharing = p.sharing();
            head = blockIdx.x % heads;
            // The last tiles of a span see the most, so they come first.
            int tile = (gridDim.x - 1 - blockIdx.x) / heads;
            span = find_span(p, tile, TILE);
            base = tile * TILE;
            all = span.count * sharing;
            begin = p.first(span.start + base / sharing) / CHUNK * CHUNK;
            end = span.start + min(base + TILE - 1, all - 1) / sharing + 1;
            plain_begin = p.first(end - 1);
            plain_end = span.start + base / sharing + 1;
        }
        __device__ int chunks() const { return (end - begin + CHUNK - 1) / CHUNK; }
    };

    // What a thread knows of its two rows along a stretch.
    struct Rows {
        int position[2], first[2];
        float most[2] = {-INFINITY, -INFINITY};
        float sum[2][2] = {};  // of even and odd columns
        // Of the stretches before.
        float total_most[2] = {-INFINITY, -INFINITY};
        float total_sum[2] = {};
    };

    static __device__ void run(const SpanStep& p, Room& room) {
        release_next();
        if (threadIdx.x == 0) {
            for (int i = 0; i < 2 * STAGES; ++i) {
                room.full[i / STAGES][i % STAGES].init(1);
                room.empty[i / STAGES][i % STAGES].init(THREADS / 32);
            }
            barriers_begin();
        }
        wait_for_previous();
        __syncthreads();
        const Work work(p.attention);
        if (threadIdx.x >= THREADS) {
            give_registers<24>();
            if (threadIdx.x < THREADS + 32) {
                bring(p.attention, work, room);
            }
        } else {
            take_registers<240>();
            compute(p, work, room);
        }
    }

    // One warp brings keys and values, chunk by chunk, eight positions a lane.
    static __device__ void bring(const Attention& p, const Work& work, Room& room) {
        const int lane = threadIdx.x % 32, group = lane % 16;
        const bool values = lane >= 16;
        const int size = p.shape.block_size;
        // Looked up before anything waits for it.
        const auto look_up = [&](int start) {
            const int at = start + group * 8;
            return at < work.end ? p.blocks[work.span.blocks + at / size] : 0;
        };
        Turn turn;
        uint32_t next = look_up(work.begin);
        for (int start = work.begin; start < work.end; start += CHUNK) {
            const uint32_t block = next;
            next = look_up(start + CHUNK);
            const int at = start + group * 8;
            const int groups = min(CHUNK / 8, (work.end - start + 7) / 8);
            const __half* from = p.cache + p.shape.piece(block, work.head, values) + at % size * DIM;
            for (int kind = 0; kind < 2; ++kind) {
                Barrier& full = room.full[kind][turn.stage];
                room.empty[kind][turn.stage].wait(turn.parity ^ 1);
                if (lane == 0) {
                    full.expect(groups * EIGHT);
                }
                __syncwarp();
                if (values == kind && group < groups) {
                    uint8_t* to = kind ? room.values[turn.stage] : room.keys[turn.stage];
                    copy_bulk(to + group * EIGHT, from, EIGHT, full);
                }
            }
            turn.next(STAGES);
        }
    }

    static __device__ void compute(const SpanStep& step, const Work& work, Room& room) {
        const Attention& p = step.attention;
        const int lane = threadIdx.x % 32, group = threadIdx.x / 128;
        const int mine = work.base + threadIdx.x / 32 * 16 + lane / 4;
        Rows rows;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            rows.position[i] = work.span.start + min(mine + 8 * i, work.all - 1) / p.sharing();
            rows.first[i] = p.first(rows.position[i]);
        }
        const int warp = threadIdx.x / 32;
        Queries::bring(step, work.span, work.head, work.all, work.base + warp * 16,
                       room.sums[group].queries[warp % 4], room.queries[group], warp % 4 * 16);
        products_see_stores();
        meet_group();
        Scores scores;
        Sums sums;
        uint32_t shares[CHUNK / 16][4];
        Turn of_keys, of_values;
        const int chunks = work.chunks();
        room.full[0][0].wait(0);
        products_begin();
        score(room.queries[group], room.keys[0], scores);
        products_wait<0>();
        pin(scores);
        leave(room.empty[0][0]);
        of_keys.next(STAGES);
        float factors[2];
        weigh(work, work.begin, scores, rows, factors);
        to_halves(scores, shares);
        bool fresh = true;
        if (group == 1) {
            pass_turn(group);
        }
        for (int chunk = 1; chunk < chunks; ++chunk) {
            const int start = work.begin + chunk * CHUNK;
            room.full[0][of_keys.stage].wait(of_keys.parity);
            await_turn(group);
            products_begin();
            score(room.queries[group], room.keys[of_keys.stage], scores);
            room.full[1][of_values.stage].wait(of_values.parity);
            add_values(room.values[of_values.stage], shares, fresh, sums);
            pass_turn(group);
            fresh = false;
            products_wait<1>();
            pin(scores);
            leave(room.empty[0][of_keys.stage]);
            of_keys.next(STAGES);
            const bool anew = start % STRETCH == 0;
            Rows before = rows;
            if (anew) {
                begin_anew(rows);
            }
            weigh(work, start, scores, rows, factors);
            // Never so, but known only after the powers: else ptxas would wait first.
            if (rows.sum[0][0] + rows.sum[0][1] + rows.sum[1][0] + rows.sum[1][1] < 0.0f) {
                __nanosleep(1);
            }
            products_wait<0>();
            pin(sums);
            leave(room.empty[1][of_values.stage]);
            of_values.next(STAGES);
            if (anew) {
                fold<true>(room, sums, before);
                rows.total_most[0] = before.total_most[0], rows.total_most[1] = before.total_most[1];
                rows.total_sum[0] = before.total_sum[0], rows.total_sum[1] = before.total_sum[1];
                fresh = true;
            } else {
                rescale(sums, factors);
            }
            to_halves(scores, shares);
        }
        room.full[1][of_values.stage].wait(of_values.parity);
        clear_rest(work, room.values[of_values.stage]);
        products_begin();
        add_values(room.values[of_values.stage], shares, fresh, sums);
        products_wait<0>();
        pin(sums);
        fold<false>(room, sums, rows);
        store(p, work, room, sums, rows);
    }

    // The two groups take turns: one's products are under way while the other weighs.
    static __device__ __forceinline__ void await_turn(int group) {
        asm volatile("bar.sync %0, %1;" ::"r"(4 + group), "n"(THREADS) : "memory");
    }
    static __device__ __forceinline__ void pass_turn(int group) {
        asm volatile("bar.arrive %0, %1;" ::"r"(5 - group), "n"(THREADS) : "memory");
    }

    // This warp has read what the barrier's stage holds.
    static __device__ __forceinline__ void leave(Barrier& barrier) {
        __syncwarp();
        if (threadIdx.x % 32 == 0) {
            barrier.arrive();
        }
    }

    static __device__ __forceinline__ void meet_group() {
        asm volatile("bar.sync %0, 128;" ::"r"(1 + static_cast<int>(threadIdx.x) / 128) : "memory");
    }

    static __device__ __forceinline__ void score(const uint8_t* queries, const uint8_t* keys,
                                                 Scores& scores) {
#pragma unroll
        for (int step = 0; step < DIM / 16; ++step) {
            const int at = step % 4 * 32;
            wgmma_f16(scores, tile_of(queries + step / 4 * (ROWS * 128) + at, SEGMENT, 16),
                      tile_of(keys + step / 4 * SEGMENT + at, EIGHT, 16), step > 0);
        }
        products_commit();
    }

    static __device__ __forceinline__ void add_values(const uint8_t* values,
                                                      const uint32_t (&shares)[CHUNK / 16][4],
                                                      bool fresh, Sums& sums) {
#pragma unroll
        for (int step = 0; step < CHUNK / 16; ++step) {
            wgmma_f16(sums, shares[step], tile_of(values + step * 2 * EIGHT, EIGHT, SEGMENT),
                      step > 0 || !fresh);
        }
        products_commit();
    }

    // Scores become probabilities, relative to the largest so far; `factors` are for what is summed.
    static __device__ __forceinline__ void weigh(const Work& work, int start, Scores& scores,
                                                 Rows& rows, float (&factors)[2]) {
        const int lane = threadIdx.x % 32;
        if (start < work.plain_begin || start + CHUNK > work.plain_end) {
#pragma unroll
            for (int i = 0; i < CHUNK / 2; ++i) {
                const int at = start + i / 4 * 8 + lane % 4 * 2 + i % 2, row = i % 4 / 2;
                const bool seen = at <= rows.position[row] && at >= rows.first[row];
                scores[i / 4][i % 4] = seen ? scores[i / 4][i % 4] : -INFINITY;
            }
        }
#pragma unroll
        for (int row = 0; row < 2; ++row) {
            float largest = fmaxf(scores[0][2 * row], scores[0][2 * row + 1]);
#pragma unroll
            for (int i = 1; i < CHUNK / 8; ++i) {
                largest = fmaxf(largest, fmaxf(scores[i][2 * row], scores[i][2 * row + 1]));
            }
            factors[row] = raised(rows.most[row], row_max(largest));
            const float most = finite(rows.most[row]);
#pragma unroll
            for (int odd = 0; odd < 2; ++odd) {
#pragma unroll
                for (int i = 0; i < CHUNK / 8; ++i) {
                    float& score = scores[i][2 * row + odd];
                    score = exp2_fast(score - most);
                }
                sum_up(scores, 2 * row + odd, factors[row], rows.sum[row][odd]);
            }
        }
    }

    // In the order of a lone position's warps, which have sixteen of every 64 positions each.
    static __device__ __forceinline__ void sum_up(const Scores& scores, int which, float factor,
                                                  float& sum) {
#pragma unroll
        for (int warp = 0; warp < 4; ++warp) {
            const int i = 2 * warp;
            const float some = scores[i][which] + scores[i + 1][which] + scores[i + 8][which] +
                               scores[i + 9][which];
            sum = warp == 0 ? __fmaf_rn(sum, factor, some) : sum + some;
        }
    }

    static __device__ __forceinline__ void to_halves(const Scores& scores,
                                                     uint32_t (&shares)[CHUNK / 16][4]) {
#pragma unroll
        for (int i = 0; i < CHUNK / 4; ++i) {
            const float(&from)[4] = scores[i / 2];
            shares[i / 4][i % 4] = halves(from[i % 2 * 2], from[i % 2 * 2 + 1]);
        }
    }

    static __device__ __forceinline__ void rescale(Sums& sums, const float (&factors)[2]) {
#pragma unroll
        for (int i = 0; i < COLUMNS * 4; ++i) {
            sums[i / 4][i % 4] *= factors[i % 4 / 2];
        }
    }

    static __device__ __forceinline__ void begin_anew(Rows& rows) {
#pragma unroll
        for (int row = 0; row < 2; ++row) {
            rows.most[row] = -INFINITY;
            rows.sum[row][0] = rows.sum[row][1] = 0.0f;
        }
    }

    // A stretch has ended: it is folded with those before, of which there may be none, and kept for
    // those after, if there are.
    template <bool KEEP>
    static __device__ __forceinline__ void fold(Room& room, Sums& sums, Rows& rows) {
        const bool first = rows.total_most[0] == -INFINITY && rows.total_most[1] == -INFINITY;
#pragma unroll
        for (int row = 0; row < 2; ++row) {
            float sum = rows.sum[row][0] + rows.sum[row][1];
            sum += __shfl_xor_sync(~0u, sum, 1);
            sum += __shfl_xor_sync(~0u, sum, 2);
            const Fold fold(rows.total_most[row], rows.most[row]);
            rows.total_sum[row] = fold(rows.total_sum[row], sum);
#pragma unroll
            for (int i = 0; i < COLUMNS; ++i) {
#pragma unroll
                for (int j = 2 * row; j < 2 * row + 2; ++j) {
                    float& total = room.sums[threadIdx.x / 128].total[i * 4 + j][threadIdx.x % 128];
                    sums[i][j] = fold(first ? 0.0f : total, sums[i][j]);
                    if (KEEP) {
                        total = sums[i][j];
                    }
                }
            }
        }
    }

    // Values past the last position that is seen may be anything, which nothing may be multiplied with.
    static __device__ __forceinline__ void clear_rest(const Work& work, uint8_t* values) {
        const int valid = (work.end - work.begin - 1) % CHUNK + 1;
        if (valid == CHUNK) return;
        constexpr int PARTS = DIM / 8;
        for (int i = valid * PARTS + threadIdx.x; i < CHUNK * PARTS; i += THREADS) {
            const int row = i / PARTS, part = i % PARTS;
            uint8_t* at = values + row / 8 * EIGHT + part / 8 * SEGMENT + row % 8 * 128;
            *reinterpret_cast<uint4*>(at + part % 8 * 16) = make_uint4(0, 0, 0, 0);
        }
        products_see_stores();
        meet<3, THREADS>();
    }

    // By way of where queries were, so that rows are written sixteen bytes a thread.
    static __device__ __forceinline__ void store(const Attention& p, const Work& work, Room& room,
                                                 const Sums& sums, const Rows& rows) {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, sharing = p.sharing();
        auto mine = reinterpret_cast<bf16*>(room.queries[warp / 4]) + warp % 4 * 16 * DIM;
#pragma unroll
        for (int row = 0; row < 2; ++row) {
            const float by = 1.0f / rows.total_sum[row];
#pragma unroll
            for (int i = 0; i < COLUMNS; ++i) {
                const int at = lane / 4 + 8 * row;
                *reinterpret_cast<uint32_t*>(mine + at * DIM + (i ^ at % 8) * 8 + lane % 4 * 2) =
                    pair(sums[i][2 * row] * by, sums[i][2 * row + 1] * by);
            }
        }
        __syncwarp();
#pragma unroll 4
        for (int i = lane; i < 16 * COLUMNS; i += 32) {
            const int at = i / COLUMNS, part = i % COLUMNS;
            const int query = work.base + warp * 16 + at;
            if (query < work.all) {
                bf16* out = p.out + static_cast<size_t>(work.span.first + query / sharing) *
                                        p.queries * DIM;
                *reinterpret_cast<uint4*>(out + (work.head * sharing + query % sharing) * DIM +
                                          part * 8) =
                    *reinterpret_cast<const uint4*>(mine + at * DIM + (part ^ at % 8) * 8);
            }
        }
    }
};

#endif

extern __shared__ __align__(1024) uint8_t room[];

// Grid: tiles of spans times heads of keys and values. Four warps for 64 queries, and four
// of which one copies: registers are given and taken by fours.
#if HAS_WGMMA
#define ATTEND(DIM)                                                                              \
    extern "C" __global__ void __launch_bounds__(Tile<DIM>::THREADS + 128, 1)                     \
        attend_tile_##DIM(const __grid_constant__ SpanStep p) {                                  \
        Tile<DIM>::run(p, *reinterpret_cast<Tile<DIM>::Room*>(room));                            \
    }
#else
#define ATTEND(DIM)                                                                              \
    extern "C" __global__ void attend_tile_##DIM(const __grid_constant__ SpanStep) {}
#endif
ATTEND(64)
ATTEND(128)
