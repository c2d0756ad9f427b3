//! No code. Its dependencies, written by cargo-hakari, name every feature that any member asks of a shared library, so
//! that building one member or another never compiles the heavy libraries again.
