//! The hot loops: matrix products on packed weights, chosen at run time by what the processor can do.
