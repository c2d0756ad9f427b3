//! One pass through the network: token rows of all texts one behind another, each text attending to itself.

use anser_kernels::{
    Element, HeadScratch, LayerNorm, QuantisedRows, Rows, RowsMut, attend_to_all, layer_norm, mean_row,
};
use anser_models::{Norm, Pooling};

use super::network::{Layer, Network, Product, Weights};

/// Memory of one session. `E` is the format of activations between two products; the sums along the residual stream stay
/// in `f32`.
#[derive(Debug, Default)]
pub(super) struct Pass<E> {
    /// The residual stream [tokens, hidden].
    state: Vec<f32>,
    /// The same, rounded for the next product. Products of bytes read the stream itself.
    rounded: Vec<E>,
    /// Queries, keys and values [tokens, 3 · hidden].
    input: Vec<E>,
    /// What attention gives [tokens, hidden].
    attended: Vec<E>,
    /// Between the two products of the feed-forward block [tokens, intermediate].
    wide: Vec<E>,
    /// What a product gives to the residual stream [tokens, hidden].
    change: Vec<E>,
    quantised: QuantisedRows,
    heads: HeadScratch,
}

impl<E: Element> Pass<E> {
    /// Pooled vectors of texts, which are not scaled. The reason of a failure completes "MODEL failed while running: ...".
    pub(super) fn run(&mut self, network: &Network, texts: &[&[u32]]) -> Result<Vec<Vec<f32>>, String> {
        let tokens = texts.iter().map(|ids| ids.len()).sum::<usize>();
        let hidden = network.hidden;
        self.resize(network, tokens);
        let mut place = 0;
        for ids in texts {
            if ids.is_empty() {
                return Err("a text has no tokens, not even special ones".to_owned());
            }
            let end = place + ids.len() * hidden;
            network.embed(ids, &mut self.state[place..end])?;
            place = end;
        }
        self.normalise(network, &network.norm, false);
        for layer in &network.layers {
            self.attend(network, layer, texts);
            self.feed_forward(network, layer);
        }
        Ok(self.pooled(network, texts))
    }

    fn resize(&mut self, network: &Network, tokens: usize) {
        let hidden = network.hidden;
        self.state.resize(tokens * hidden, 0.0);
        for rows in [&mut self.change, &mut self.rounded, &mut self.attended] {
            rows.resize(tokens * hidden, E::default());
        }
        self.input.resize(tokens * 3 * hidden, E::default());
        self.wide.resize(tokens * network.intermediate, E::default());
    }

    /// Normalises the residual stream, with `change` added to it if there is one.
    fn normalise(&mut self, network: &Network, norm: &Norm, changed: bool) {
        let bytes = network.layers.first().is_some_and(|layer| matches!(layer.input.weights, Weights::Bytes(_)));
        layer_norm(
            network.set,
            LayerNorm {
                x: &mut self.state,
                addend: changed.then_some(&self.change),
                weight: &norm.weight,
                bias: &norm.bias,
                epsilon: network.epsilon,
                rounded: (!bytes).then_some(&mut self.rounded),
            },
        );
    }

    fn attend(&mut self, network: &Network, layer: &Layer, texts: &[&[u32]]) {
        let hidden = network.hidden;
        let tokens = self.state.len() / hidden;
        let Self { state, rounded, input, attended, change, quantised, heads, .. } = self;
        let out = RowsMut::dense(input, tokens, 3 * hidden);
        match &layer.input.weights {
            Weights::Float(_) => layer.input.rows(Rows::dense(rounded, tokens, hidden), out, network, quantised),
            Weights::Bytes(_) => layer.input.rows(Rows::dense(state, tokens, hidden), out, network, quantised),
        }
        let mut first = 0;
        for ids in texts {
            let end = first + ids.len();
            let input = Rows::dense(&input[first * 3 * hidden..end * 3 * hidden], ids.len(), 3 * hidden);
            let out = RowsMut::dense(&mut attended[first * hidden..end * hidden], ids.len(), hidden);
            attend_to_all(network.set, input, network.heads, out, heads);
            first = end;
        }
        let out = RowsMut::dense(change, tokens, hidden);
        layer.attention_output.rows(Rows::dense(attended, tokens, hidden), out, network, quantised);
        self.normalise(network, &layer.attention_norm, true);
    }

    fn feed_forward(&mut self, network: &Network, layer: &Layer) {
        let (hidden, intermediate) = (network.hidden, network.intermediate);
        let tokens = self.state.len() / hidden;
        let Self { state, rounded, wide, change, quantised, .. } = self;
        let out = RowsMut::dense(wide, tokens, intermediate);
        match &layer.up.weights {
            Weights::Float(_) => layer.up.rows(Rows::dense(rounded, tokens, hidden), out, network, quantised),
            Weights::Bytes(_) => layer.up.rows(Rows::dense(state, tokens, hidden), out, network, quantised),
        }
        let out = RowsMut::dense(change, tokens, hidden);
        layer.down.rows(Rows::dense(wide, tokens, intermediate), out, network, quantised);
        self.normalise(network, &layer.output_norm, true);
    }

    fn pooled(&self, network: &Network, texts: &[&[u32]]) -> Vec<Vec<f32>> {
        let hidden = network.hidden;
        let mut rest = self.state.as_slice();
        let vectors = texts.iter().map(|ids| {
            let (rows, behind) = rest.split_at(ids.len() * hidden);
            rest = behind;
            match network.pooling {
                Pooling::Cls => rows[..hidden].to_vec(),
                Pooling::LastToken => rows[rows.len() - hidden..].to_vec(),
                Pooling::Mean => {
                    let mut mean = vec![0.0; hidden];
                    mean_row(network.set, rows, &mut mean);
                    mean
                }
            }
        });
        vectors.collect()
    }
}

impl Product {
    /// Multiplies rows, which are quantised first where the weights are bytes.
    fn rows<X: Element, O: Element>(
        &self,
        x: Rows<'_, X>,
        out: RowsMut<'_, O>,
        network: &Network,
        quantised: &mut QuantisedRows,
    ) {
        match &self.weights {
            Weights::Float(matrix) => matrix.product_with(x, self.epilogue(), out),
            Weights::Bytes(matrix) => {
                quantised.assign(network.set, x, matrix.group());
                matrix.product(quantised, self.epilogue(), out);
            }
        }
    }
}
