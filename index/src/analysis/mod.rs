//! Analysis of what a collection holds: clusters, their keywords, and a map of them.
