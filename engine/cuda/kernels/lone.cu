// Attention of positions that are alone in their spans over a tiled cache. Where no span of the step
// is longer, it also norms and turns the heads and brings the new keys and values to the cache, as
// the kernel before would; so all that it reads of the cache is older than the step, and it asks for
// that before the projections are there.
#include "device/lone.cuh"
#include "device/lone_heads.cuh"
#include "device/lone_stretch.cuh"

template <int DIM, int NQ>
struct Lone : LoneShape<DIM, NQ> {
    using Shape = LoneShape<DIM, NQ>;
    using typename Shape::Room;
    using typename Shape::Work;
    using typename Shape::Columns;
    using typename Shape::Pieces;
    using typename Shape::Queries;
    using typename Shape::Scores;
    using typename Shape::Stretch;
    using typename Shape::Sums;
    using Shape::CT;
    using Shape::EIGHT;
    using Shape::HALF;
    using Shape::HALVES;
    using Shape::QT;
    using Shape::STAGE;
    using Shape::THREADS;
    using Shape::WARPS;
    using Heads = LoneHeads<DIM, NQ>;
    using InStretch = LoneStretch<DIM, NQ>;

    static __device__ void run(const LoneStep& p, uint8_t* ring, Room& room) {
        release_next();
        if (threadIdx.x == 0) {
            for (int i = 0; i < p.stages; ++i) {
                room.full[i].init(1);
                room.empty[i].init(WARPS);
            }
            barriers_begin();
        }
        if (!p.brings) {
            wait_for_previous();
        }
        const Work work(p);
        if (work.piece.token == NO_TOKEN) return;
        __syncthreads();
        if (threadIdx.x >= THREADS) {
            bring(p, work, ring, room);
        } else {
            compute(p, work, ring, room);
        }
    }

    // Eight positions a lane; a lane has looked up two eights of a stretch.
    static __device__ void bring(const LoneStep& p, const Work& work, uint8_t* ring, Room& room) {
        const CacheShape& shape = p.attention.shape;
        const uint32_t* blocks = p.attention.blocks + work.piece.blocks;
        const int lane = threadIdx.x % 32;
        Turn turn;
        for (int number = work.begin; number < work.end; ++number) {
            const Stretch stretch(work, number);
            uint32_t block[2];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const int at = (lane + 32 * i) * 8;
                block[i] = at < stretch.count && at + 8 > stretch.first
                               ? blocks[(stretch.start + at) / shape.block_size]
                               : 0;
            }
#pragma unroll 1
            for (int kind = 0; kind < 2; ++kind) {
#pragma unroll 1
                for (int half = stretch.first / HALF; stretch.has_half(half); ++half) {
                    const int eight = half * 8 + lane % 8, at = eight * 8;
                    const uint32_t mine = __shfl_sync(~0u, half < HALVES / 2 ? block[0] : block[1],
                                                      eight % 32);
                    const bool mine_is_there =
                        lane < 8 && at < stretch.count && at + 8 > stretch.first;
                    const int there = __popc(__ballot_sync(~0u, mine_is_there));
                    Barrier& full = room.full[turn.stage];
                    room.empty[turn.stage].wait(turn.parity ^ 1);
                    if (lane == 0) {
                        full.expect(there * EIGHT);
                    }
                    __syncwarp();
                    if (mine_is_there) {
                        const __half* from = p.attention.cache +
                                             shape.piece(mine, work.head, kind == 1) +
                                             (stretch.start + at) % shape.block_size * DIM;
                        copy_bulk(ring + turn.stage * STAGE + lane * EIGHT, from, EIGHT, full);
                    }
                    turn.next(p.stages);
                }
            }
        }
    }

    static __device__ void compute(const LoneStep& p, const Work& work, uint8_t* ring, Room& room) {
        Queries queries;
        Heads::bring(p, work, room, queries);
        Turn turn;
        Sums total;
        Columns of_total;
        of_total.begin();
        const bool split = work.piece.pieces > 1;
        for (int number = work.begin; number < work.end; ++number) {
            const Stretch stretch(work, number);
            const bool newest = work.fresh && number + 1 == work.end;
            Scores scores;
            InStretch::score(stretch, newest, queries, ring, room, p.stages, turn, scores);
            Columns columns;
            columns.begin();
            InStretch::weigh(stretch, room, scores, columns);
            InStretch::sum_up(stretch, room, columns);
            Sums sums;
            InStretch::add_values(stretch, newest, ring, room, p.stages, turn, sums);
            fold(sums, columns, number == work.begin, total, of_total);
            if (split && (work.piece.begin > 0 || number + 1 == work.end)) {
                const int slot = Pieces::slot_of(work.piece, number);
                leave(p.attention.partial_of(slot, work.head), total, of_total);
                of_total.begin();
            }
        }
        Heads::keep(p, work, room);
        if (!split) {
            store(p.attention, work, total, of_total);
        } else if (Pieces::last_to_arrive(p.attention, work.piece, work.head)) {
            Pieces::fold(p.attention, work.piece, work.head, work.first_head, work.heads,
                         room.pieces);
        }
    }

    // A stretch is folded with those before.
    static __device__ __forceinline__ void fold(const Sums& sums, const Columns& columns, bool first,
                                                Sums& total, Columns& of_total) {
#pragma unroll
        for (int i = 0; i < QT * 2; ++i) {
            const int tile = i / 2, odd = i % 2;
            const Fold fold(of_total.most[tile][odd], columns.most[tile][odd]);
            of_total.sum[tile][odd] = fold(of_total.sum[tile][odd], columns.sum[tile][odd]);
#pragma unroll
            for (int j = 0; j < CT * 2; ++j) {
                float& its = total[j / 2][tile][j % 2 * 2 + odd];
                its = fold(first ? 0.0f : its, sums[j / 2][tile][j % 2 * 2 + odd]);
            }
        }
    }

    static __device__ void leave(float* to, const Sums& total, const Columns& columns) {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
        for (int i = 0; i < CT * QT * 2; ++i) {
            const int tile = i / 2 % QT, column = i / (QT * 2);
            const int col = warp * (DIM / 4) + column * 16 + i % 2 * 8 + lane / 4;
            const float(&from)[4] = total[column][tile];
            *reinterpret_cast<float2*>(to + col * NQ + tile * 8 + lane % 4 * 2) =
                make_float2(from[i % 2 * 2], from[i % 2 * 2 + 1]);
        }
        if (threadIdx.x < 4) {
#pragma unroll
            for (int i = 0; i < QT * 2; ++i) {
                const int query = i / 2 * 8 + lane * 2 + i % 2;
                to[DIM * NQ + query] = columns.most[i / 2][i % 2];
                to[(DIM + 1) * NQ + query] = columns.sum[i / 2][i % 2];
            }
        }
    }

    static __device__ void store(const Attention& p, const Work& work, const Sums& total,
                                 const Columns& columns) {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        float by[QT][2];
#pragma unroll
        for (int i = 0; i < QT * 2; ++i) {
            by[i / 2][i % 2] = 1.0f / columns.sum[i / 2][i % 2];
        }
        bf16* out =
            p.out + (static_cast<size_t>(work.piece.token) * p.queries + work.first_head) * DIM;
#pragma unroll
        for (int i = 0; i < CT * QT * 2; ++i) {
            const int tile = i / 2 % QT, column = i / (QT * 2), query = tile * 8 + lane / 4;
            const int col = warp * (DIM / 4) + column * 16 + i % 2 * 8 + lane % 4 * 2;
            const float(&from)[4] = total[column][tile];
            const uint32_t both = transposed(
                pair(from[i % 2 * 2] * by[tile][0], from[i % 2 * 2 + 1] * by[tile][1]));
            if (query < work.heads) {
                *reinterpret_cast<uint32_t*>(out + query * DIM + col) = both;
            }
        }
    }
};

extern __shared__ __align__(128) uint8_t ring[];

// Grid: pieces times heads of keys and values.
#if __CUDA_ARCH__ >= 900
#define RUN(DIM, NQ)                          \
    using Kernel = Lone<DIM, NQ>;             \
    __shared__ typename Kernel::Room room;    \
    Kernel::run(p, ring, room);
#else
#define RUN(DIM, NQ)
#endif
#define ATTEND(DIM, NQ)                                                                       \
    extern "C" __global__ void __launch_bounds__(Lone<DIM, NQ>::THREADS + 32, 2)              \
        attend_lone_##DIM##_##NQ(const __grid_constant__ LoneStep p) {                        \
        RUN(DIM, NQ)                                                                          \
    }
ATTEND(64, 8)
ATTEND(64, 16)
ATTEND(128, 8)
ATTEND(128, 16)
