//! The map as a page of its own.

use super::DocumentMap;

pub(super) fn page(map: &DocumentMap) -> String {
    map.svg()
}
