"""Mistakes that porters of Llama really make or could make, each as one small change of a correct port.

They were collected from the operations of the paper and from public bug reports, not from what the program under
test can name.
"""

from . import activation, ends, layers, linear, linear_values, norm, rope, scores, softmax, sums
from .pairs import pairs_of

MODULES = (norm, rope, linear, linear_values, scores, softmax, activation, sums, layers, ends)
SINGLE = [deviation for module in MODULES for deviation in module.DEVIATIONS]
PAIRS = pairs_of(SINGLE)
