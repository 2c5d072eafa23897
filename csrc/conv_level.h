/* One vector level of convolution: the tiles and their drivers for both dtypes. Included by levels.h for each level. */

#if REGISTERS == 32
#define CHANNEL_SHAPES CHANNELS_32
#define ROW_SHAPES ROWS_32
#define DOT_SHAPES DOTS_32
#else
#define CHANNEL_SHAPES CHANNELS_16
#define ROW_SHAPES ROWS_16
#define DOT_SHAPES DOTS_16
#endif

#define REAL float
#define INT int32_t
#define SIZE 4
#define NAME(function) JOIN(function, _f32_, LEVEL)
#include "conv_vector.h"
#include "conv_tiles.h"
#include "conv_maps.h"
#include "conv_weights.h"
#include "conv_vector.h"
#undef REAL
#undef INT
#undef SIZE
#undef NAME

#define REAL double
#define INT int64_t
#define SIZE 8
#define NAME(function) JOIN(function, _f64_, LEVEL)
#include "conv_vector.h"
#include "conv_tiles.h"
#include "conv_maps.h"
#include "conv_weights.h"
#include "conv_vector.h"
#undef REAL
#undef INT
#undef SIZE
#undef NAME

#undef CHANNEL_SHAPES
#undef ROW_SHAPES
#undef DOT_SHAPES
