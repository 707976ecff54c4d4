// Products of up to sixteen rows with a weight that every row meets.
#include "device/sliced.cuh"

extern __shared__ __align__(128) uint8_t room[];

// Units of each strip that a warp has under way.
template <class Format>
constexpr int AHEAD = sizeof(typename Format::Unit) > 40 ? 2 : 4;

// Grid: groups of so many strips of outputs. A block has a warp for each slice.
#define SLICED(NAME, FORMAT, TILES)                                             \
    extern "C" __global__ void __launch_bounds__(256)                           \
        sliced_##TILES##_##NAME(const __grid_constant__ Job job) {              \
        release_next();                                                         \
        Sliced<FORMAT, TILES, AHEAD<FORMAT>>::run(job, room);                   \
    }
#define ALL(NAME, FORMAT)    \
    SLICED(NAME, FORMAT, 1)  \
    SLICED(NAME, FORMAT, 2)
FOR_EACH_FORMAT(ALL)
