// What the blocks of a lone position's attention know: which stretches, and what is where in shared
// memory.
#pragma once

#include "attention.cuh"
#include "gather.cuh"
#include "rope.cuh"

struct LoneStep {
    Attention attention;
    Rope rope;
    int turns;   // whether queries are still to be turned
    int brings;  // whether keys and values are still to be brought to the cache
    int stages;  // of the ring in shared memory
};

// Stages that a block may have.
constexpr int STAGES_MAX = 12;

// One head of keys and values of one position, NQ queries of it. Scores have positions as rows and
// queries as columns; what is summed has columns of values as rows. Keys and values come in halves
// of chunks, first all keys of a stretch. Four warps compute: each scores sixteen positions of a
// half, and sums up a quarter of the columns. One warp copies.
template <int DIM, int NQ>
struct LoneShape {
    static constexpr int WARPS = 4, THREADS = 32 * WARPS;
    static constexpr int HALF = CHUNK / 2, HALVES = STRETCH / HALF, CHUNKS = STRETCH / CHUNK;
    static constexpr int EIGHT = 8 * DIM * 2;  // bytes of eight positions
    static constexpr int SEGMENT = 1024;       // bytes of 64 columns of them
    static constexpr int STAGE = HALF / 8 * EIGHT;
    static constexpr int QT = NQ / 8;          // tiles of queries
    static constexpr int CT = DIM / 16 / WARPS;  // tiles of a warp's columns
    using Pieces = Gather<NQ, THREADS>;
    using Scores = float[HALVES][QT][4];
    using Sums = float[CT][QT][4];
    using Queries = uint32_t[QT][DIM / 16][2];

    // Beside the ring.
    struct Room {
        Barrier full[STAGES_MAX], empty[STAGES_MAX];
        union {
            alignas(16) __half shares[NQ][STRETCH + 8];
            typename Pieces::Room pieces;
            struct {
                float heads[NQ + 2][DIM];
                float2 turns[PAIRS_MAX];
                float weights[2][DIM];  // of the norms of queries and keys
            };
        };
        float sums[CHUNKS][WARPS][8][NQ];
        __half queries[NQ][DIM + 8];
        alignas(16) __half fresh[2][DIM];  // the new key and value
        float largest[CHUNKS][WARPS][NQ];
        float factors[CHUNKS][NQ];
    };

    // What a block computes.
    struct Work {
        Piece piece;
        int head, first_head, heads;
        int first;       // position that is seen
        int begin, end;  // stretches
        bool fresh;      // whether the position itself is among them, and not in the cache
        int slot;        // where it belongs then

        __device__ Work(const LoneStep& p) {
            const Attention& a = p.attention;
            piece = a.pieces[blockIdx.x / a.shape.heads];
            head = blockIdx.x % a.shape.heads;
            first_head = head * a.sharing() + a.head_tile * NQ;
            heads = min(NQ, a.sharing() - a.head_tile * NQ);
            first = a.first(piece.position);
            begin = max(piece.begin, first / STRETCH);
            end = piece.end;
            fresh = p.brings && end == piece.position / STRETCH + 1;
            slot = fresh && piece.token != NO_TOKEN ? p.rope.slots[piece.token] : 0;
        }
    };

    // A stretch: positions counted from its start, those from `first` on and below `count` are seen.
    struct Stretch {
        int start, first, count;

        __device__ Stretch(const Work& work, int stretch)
            : start(stretch * STRETCH), first(max(0, work.first - start)),
              count(min(STRETCH, work.piece.position + 1 - start)) {}
        __device__ bool has_half(int half) const {
            return half * HALF < count && (half + 1) * HALF > first;
        }
        __device__ bool has_chunk(int chunk) const {
            return chunk * CHUNK < count && (chunk + 1) * CHUNK > first;
        }
        // The place of the newest position among the halves that are there.
        __device__ bool ends_in(int half) const { return (count - 1) / HALF == half; }
    };

    // What is known of a thread's queries: twice as many as there are tiles.
    struct Columns {
        float most[QT][2], sum[QT][2];

        __device__ void begin() {
#pragma unroll
            for (int i = 0; i < QT * 2; ++i) {
                most[i / 2][i % 2] = -INFINITY;
                sum[i / 2][i % 2] = 0.0f;
            }
        }
    };

    // This warp has read what the barrier's stage holds.
    static __device__ __forceinline__ void release(Barrier& barrier) {
        __syncwarp();
        if (threadIdx.x % 32 == 0) {
            barrier.arrive();
        }
    }

    // Where sixteen bytes of a row are.
    static __device__ __forceinline__ uint8_t* part_of(uint8_t* stage, int row, int part) {
        return stage + row / 8 * EIGHT + part / 8 * SEGMENT + row % 8 * 128 +
               (part % 8 ^ row % 8) * 16;
    }
};
