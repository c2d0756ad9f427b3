//! Keys and values of a sequence in a device's memory.

use std::sync::Arc;

use candle_core::{Result, Tensor};

/// Tokens for which room is made at least when there is none left.
const GROWTH: usize = 256;

/// Keys and values of each block. Copies share memory until one of them grows.
#[derive(Clone)]
pub(crate) struct DeviceCache {
    blocks: Vec<Option<Arc<Buffers>>>,
}

/// Keys and values of one block, each `[kv heads, room, head dimensions]`.
struct Buffers {
    keys: Tensor,
    values: Tensor,
}

impl DeviceCache {
    /// A cache of no tokens for `blocks` blocks.
    pub(crate) fn new(blocks: usize) -> Self {
        Self { blocks: vec![None; blocks] }
    }

    /// Writes the keys and values (`[kv heads, tokens, head dimensions]`) of tokens behind the first `start` into a block,
    /// and returns all of them as views.
    pub(crate) fn append(&mut self, block: usize, start: usize, new: (&Tensor, &Tensor)) -> Result<(Tensor, Tensor)> {
        let Some(slot) = self.blocks.get_mut(block) else { candle_core::bail!("there is no block {block}") };
        let (heads, tokens, dim) = new.0.dims3()?;
        let length = start + tokens;
        let roomy = |buffers: &Buffers| buffers.keys.dim(1).is_ok_and(|room| room >= length);
        // Writing into memory that a copy of this sequence reads too would change the copy.
        let own = slot.as_mut().and_then(Arc::get_mut).is_some_and(|buffers| roomy(buffers));
        if !own {
            let room = (start + tokens).max(start + start / 2).next_multiple_of(GROWTH);
            let grown = |old: Option<&Tensor>| {
                let buffer = Tensor::zeros((heads, room, dim), new.0.dtype(), new.0.device())?;
                if let Some(old) = old.filter(|_| start > 0) {
                    buffer.slice_set(&old.narrow(1, 0, start)?.contiguous()?, 1, 0)?;
                }
                Ok::<_, candle_core::Error>(buffer)
            };
            let old = slot.as_deref();
            let (keys, values) = (grown(old.map(|old| &old.keys))?, grown(old.map(|old| &old.values))?);
            *slot = Some(Arc::new(Buffers { keys, values }));
        }
        let Some(buffers) = slot else { candle_core::bail!("block {block} has no room") };
        buffers.keys.slice_set(&new.0.contiguous()?, 1, start)?;
        buffers.values.slice_set(&new.1.contiguous()?, 1, start)?;
        Ok((buffers.keys.narrow(1, 0, length)?, buffers.values.narrow(1, 0, length)?))
    }
}
