/* Vectors of the processor's length, and how many of them it holds at once. */
#ifdef __AVX512F__
#define VECTOR 64
#elif defined(__AVX__)
#define VECTOR 32
#else
#define VECTOR 16
#endif
#if defined(__AVX512F__) || defined(__aarch64__)
#define REGISTERS 32
#else
#define REGISTERS 16
#endif
/* In between, a product and a sum are one rounding. */
#ifdef __clang__
#define FUSED _Pragma("clang fp contract(fast)")
#define FUSED_END _Pragma("clang fp contract(off)")
#else
#define FUSED _Pragma("GCC push_options") _Pragma("GCC optimize(\"fp-contract=fast\")")
#define FUSED_END _Pragma("GCC pop_options")
#endif

typedef float float_vector __attribute__((vector_size(VECTOR), may_alias));
typedef double double_vector __attribute__((vector_size(VECTOR), may_alias));
typedef float float_loose __attribute__((vector_size(VECTOR), aligned(4), may_alias));
typedef double double_loose __attribute__((vector_size(VECTOR), aligned(8), may_alias));
enum { float_lanes = VECTOR / 4, double_lanes = VECTOR / 8 };
