/* One vector level of pooling, for both dtypes. Included by levels.h for each level. */

#define REAL float
#define PLACE int32_t
#define NAME(function) JOIN(function, _f32_, LEVEL)
#include "pool_template.h"
#undef REAL
#undef PLACE
#undef NAME

#define REAL double
#define PLACE int64_t
#define NAME(function) JOIN(function, _f64_, LEVEL)
#include "pool_template.h"
#undef REAL
#undef PLACE
#undef NAME
