// A router for more than a few positions, of one group at most: the scores of all experts, and whom
// they send where, in one kernel. A cluster scores sixteen positions and chooses for them; the block
// that is the last of all to have done so places everybody's choices. Hopper's.
#include "device/choose.cuh"
#include "device/pipelined.cuh"
#include "device/place.cuh"

#if HAS_WGMMA

struct Router {
    Job job;  // of all positions
    Route route;
    const uint8_t* next;  // what the kernel after reads first
    int next_bytes;       // of it that are fetched ahead, a multiple of sixteen
};

extern __shared__ __align__(1024) uint8_t room[];

// Positions of a cluster, and experts that it scores at most.
constexpr int POSITIONS = 16;
constexpr int EXPERTS = 128;

// Memory has little to do until it is known who goes where.
__device__ __forceinline__ void fetch_next(const Router& p) {
    constexpr int PIECE = 4096;
    const int all = gridDim.x * 32;
    if (threadIdx.x < 32) {
        for (int piece = blockIdx.x * 32 + threadIdx.x; piece * PIECE < p.next_bytes;
             piece += all) {
            const int at = piece * PIECE;
            fetch_ahead(p.next + at, min(PIECE, p.next_bytes - at));
        }
    }
}

// The one tile of a cluster, one slice of it for each block.
struct Scored {
    const Job& job;

    __device__ bool early() const { return true; }
    __device__ int begin() const { return 0; }
    __device__ int step() const { return 1; }
    __device__ int count() const { return 1; }
    __device__ Tile get(int) const {
        const int first = blockIdx.x / CLUSTER * POSITIONS;
        const int begin = min(job.units(), static_cast<int>(cluster_rank()) * job.slice);
        const int end = min(job.units(), begin + job.slice);
        return {job.weight, 0, first, min(POSITIONS, job.count - first), begin, end};
    }
};

// Whether the block is the last of the grid to come here; what others wrote before is seen then.
__device__ __forceinline__ bool last_to_arrive(int* arrivals) {
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicAdd(arrivals, 1) == gridDim.x - 1;
        if (last) {
            *arrivals = 0;
        }
    }
    __syncthreads();
    __threadfence();
    return last;
}

// A block chooses for those positions whose scores it has added up.
__device__ void choose_and_place(const Route& p) {
    const int nth = threadIdx.x / 32 * CLUSTER + cluster_rank();
    const int position = blockIdx.x / CLUSTER * POSITIONS + nth;
    if (nth < POSITIONS && position < p.positions) {
        auto choices = reinterpret_cast<Choice*>(room) + threadIdx.x / 32 * p.chosen;
        choose_among<EXPERTS / 32>(p, p.scores + position * p.num_experts, position, choices,
                                   p.experts + position * p.chosen);
    }
    if (last_to_arrive(p.arrivals)) {
        Order(p, 0, reinterpret_cast<uint32_t*>(room)).sort();
    }
}

// Grid: a cluster for each tile of positions.
#define ALL(NAME, FORMAT)                                                          \
    extern "C" __global__ void __cluster_dims__(CLUSTER) __launch_bounds__(        \
        Pipelined<FORMAT, 2, POSITIONS, 4, true>::THREADS, 3)                      \
        router_many_##NAME(const __grid_constant__ Router p) {                     \
        release_next();                                                            \
        fetch_next(p);                                                             \
        Pipelined<FORMAT, 2, POSITIONS, 4, true>::run(p.job, Gate::NONE,           \
                                                      Scored{p.job}, room);        \
        choose_and_place(p.route);                                                 \
    }
FOR_EACH_FORMAT(ALL)

#endif
