"""An example for each of NumPy's ufuncs: a call, and its result to four decimals."""

from __future__ import annotations

import re
from collections.abc import Iterator

EXAMPLES = """
abs([-1.5, 2.0])                            [1.5, 2.0]
add([1.0, 2.0], 0.5)                        [1.5, 2.5]
arccos([0.5, 1.0])                          [1.0472, 0.0]
arccosh([1.0, 2.0])                         [0.0, 1.317]
arcsin([0.0, 0.5])                          [0.0, 0.5236]
arcsinh([0.0, 1.0])                         [0.0, 0.8814]
arctan([0.0, 1.0])                          [0.0, 0.7854]
arctan2(1.0, 1.0)                           0.7854
arctanh([0.0, 0.5])                         [0.0, 0.5493]
bitwise_and([True, True], [True, False])    [True, False]
bitwise_or([True, False], [False, False])   [True, False]
cbrt([1.0, 8.0])                            [1.0, 2.0]
ceil([-1.5, 1.5])                           [-1.0, 2.0]
cos([0.0, 1.0])                             [1.0, 0.5403]
cosh([0.0, 1.0])                            [1.0, 1.5431]
divide([1.0, 2.0], 4.0)                     [0.25, 0.5]
equal([1.0, 2.0], 2.0)                      [False, True]
exp([0.0, 1.0])                             [1.0, 2.7183]
exp2([0.0, 3.0])                            [1.0, 8.0]
expm1([0.0, 1.0])                           [0.0, 1.7183]
floor([-1.5, 1.5])                          [-2.0, 1.0]
floor_divide([7.0, -7.0], 2.0)              [3.0, -4.0]
greater([1.0, 2.0], 1.0)                    [False, True]
greater_equal([1.0, 2.0], 1.0)              [True, True]
hypot(3.0, 4.0)                             5.0
invert([True, False])                       [False, True]
isfinite([1.0, np.inf])                     [True, False]
isnan([1.0, np.nan])                        [False, True]
less([1.0, 2.0], 2.0)                       [True, False]
less_equal([1.0, 2.0], 1.0)                 [True, False]
log([1.0, 2.0])                             [0.0, 0.6931]
log10([1.0, 100.0])                         [0.0, 2.0]
log1p([0.0, 1.0])                           [0.0, 0.6931]
log2([1.0, 8.0])                            [0.0, 3.0]
logaddexp(0.0, 0.0)                         0.6931
logical_and([True, True], [True, False])    [True, False]
logical_not([True, False])                  [False, True]
logical_or([True, False], [False, False])   [True, False]
maximum([1.0, 4.0], [3.0, 2.0])             [3.0, 4.0]
minimum([1.0, 4.0], [3.0, 2.0])             [1.0, 2.0]
multiply([1.0, 2.0], 3.0)                   [3.0, 6.0]
negative([1.0, -2.0])                       [-1.0, 2.0]
not_equal([1.0, 2.0], 2.0)                  [True, False]
positive([1.0, -2.0])                       [1.0, -2.0]
reciprocal([2.0, 4.0])                      [0.5, 0.25]
remainder([7.0, -7.0], 3.0)                 [1.0, 2.0]
rint([0.5, 1.5])                            [0.0, 2.0]
sign([-2.0, 0.0])                           [-1.0, 0.0]
sin([0.0, 1.0])                             [0.0, 0.8415]
sinh([0.0, 1.0])                            [0.0, 1.1752]
sqrt([4.0, 9.0])                            [2.0, 3.0]
square([2.0, -3.0])                         [4.0, 9.0]
subtract([1.0, 2.0], 0.5)                   [0.5, 1.5]
tan([0.0, 1.0])                             [0.0, 1.5574]
tanh([0.0, 1.0])                            [0.0, 0.7616]
trunc([-1.5, 1.5])                          [-1.0, 1.0]
"""


def examples() -> Iterator[tuple[str, str]]:
    """The names of the ops, and their examples as doctests."""
    for line in EXAMPLES.strip().splitlines():
        call, result = re.split("  +", line, maxsplit=1)
        rounded = ".data.round(4)" if "." in result else ""
        imports = "import numpy as np, tinygrad_np as tg"
        yield call.partition("(")[0], f">>> {imports}\n>>> tg.{call}{rounded}.tolist()\n{result}"
