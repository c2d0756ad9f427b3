//! The keys and values of the tokens that a sequence has read.

use crate::decoder::device::DeviceCache;

/// Tokens for which room is made at least when there is none left.
const GROWTH: usize = 256;

/// A sequence of tokens that the decoder has read.
#[derive(Clone)]
pub(crate) struct Sequence {
    /// Keys and values of each block, `[length, kv width]` each.
    blocks: Vec<(Vec<f32>, Vec<f32>)>,
    length: usize,
    /// The same in a device's memory, where a device decodes.
    device: Option<DeviceCache>,
}

impl Sequence {
    /// A sequence of no tokens for a decoder of `blocks` blocks.
    pub(crate) fn new(blocks: usize) -> Self {
        Self { blocks: vec![(Vec::new(), Vec::new()); blocks], length: 0, device: None }
    }

    /// Tokens read.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Counts `tokens` more as read, once every block has theirs.
    pub(crate) fn advance(&mut self, tokens: usize) {
        self.length += tokens;
    }

    /// Its keys and values in a device's memory, for a decoder of `blocks` blocks.
    pub(crate) fn on_device(&mut self, blocks: usize) -> &mut DeviceCache {
        self.device.get_or_insert_with(|| DeviceCache::new(blocks))
    }

    /// Appends a token's key and value to a block.
    pub(crate) fn push(&mut self, block: usize, key: &[f32], value: &[f32]) {
        let (keys, values) = &mut self.blocks[block];
        for (cache, row) in [(keys, key), (values, value)] {
            if cache.capacity() - cache.len() < row.len() {
                let more = (cache.len() / 2).max(GROWTH * row.len());
                cache.reserve_exact(more);
            }
            cache.extend_from_slice(row);
        }
    }

    /// Keys and values of a block.
    pub(crate) fn block(&self, block: usize) -> (&[f32], &[f32]) {
        let (keys, values) = &self.blocks[block];
        (keys, values)
    }
}
