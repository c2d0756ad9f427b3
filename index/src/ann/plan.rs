//! Whether a segment is searched through its graph or row by row, by what either would cost.
//!
//! A walk meets about one allowed row in `1 / share` rows, so to fill a beam of `ef` it looks at about `ef / share` rows'
//! links; a scan looks at every allowed row, but in order of memory. Costs are in units of one row of a scan in order.

/// Links of a row that a walk has not followed yet, as a share of the most that it may have.
const FRESH_LINKS: f64 = 0.4;
/// A row that a walk jumps to.
const WALK_COST: f64 = 5.0;
/// A row of a scan that skips the rows between.
const JUMP_COST: f64 = 3.0;

/// What is known before a segment is searched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task {
    /// Rows of the segment.
    pub(super) rows: usize,
    /// Those of them that may be found.
    pub(super) allowed: usize,
    /// Beam width in its graph.
    pub(super) ef: usize,
    /// Most links of a row.
    pub(super) links: usize,
}

impl Task {
    /// Whether walking the graph costs less than comparing every allowed row.
    pub(super) fn prefers_graph(&self) -> bool {
        self.allowed > self.ef && self.walk() < self.scan()
    }

    fn share(&self) -> f64 {
        (self.allowed as f64 / self.rows.max(1) as f64).clamp(f64::MIN_POSITIVE, 1.0)
    }

    fn walk(&self) -> f64 {
        let looked_at = self.ef as f64 / self.share() * self.links as f64 * FRESH_LINKS;
        looked_at.min(self.rows as f64) * WALK_COST
    }

    fn scan(&self) -> f64 {
        // With every eighth row the next one has been fetched along with the last.
        let sparse = (1.0 - self.share() * 8.0).clamp(0.0, 1.0);
        self.allowed as f64 * (1.0 + sparse * (JUMP_COST - 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(rows: usize, share: f64, ef: usize) -> bool {
        Task { rows, allowed: (rows as f64 * share) as usize, ef, links: 32 }.prefers_graph()
    }

    #[test]
    fn few_allowed_rows_are_scanned_and_many_are_walked_to() {
        assert!(graph(100_000, 1.0, 64) && graph(100_000, 0.5, 64) && graph(1_000_000, 0.2, 64));
        assert!(!graph(100_000, 0.1, 64) && !graph(100_000, 0.01, 64) && !graph(1_000_000, 0.01, 64));
        assert!(!graph(2000, 0.5, 64), "a small segment is scanned");
        assert!(!graph(100_000, 0.5, 100_000), "so is one whose beam would hold it all");
        assert!(!graph(100_000, 0.0, 64));
    }
}
