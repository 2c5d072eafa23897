/* One vector level: the tiles and their drivers for both dtypes. Included by conv.c with LEVEL, BYTES and TARGET set. */

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
