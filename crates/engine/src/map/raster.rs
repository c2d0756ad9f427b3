//! The map as a PNG file.

use std::sync::{Arc, OnceLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use crate::EngineError;

/// Pixels of the picture for one of the drawing: 1280 x 960 becomes 1600 x 1200.
const ZOOM: f32 = 1.25;

/// Fonts of the program's own first, so that a map looks alike everywhere; those of the machine for all other characters.
/// Read once: a machine may have thousands.
fn fonts() -> Arc<fontdb::Database> {
    static FONTS: OnceLock<Arc<fontdb::Database>> = OnceLock::new();
    let load = || {
        let mut fonts = fontdb::Database::new();
        for font in [epaint_default_fonts::UBUNTU_LIGHT, epaint_default_fonts::NOTO_EMOJI_REGULAR] {
            fonts.load_font_data(font.to_vec());
        }
        let own = fonts.faces().next().and_then(|face| face.families.first().map(|(name, _)| name.clone()));
        fonts.load_system_fonts();
        if let Some(own) = own {
            fonts.set_sans_serif_family(own);
        }
        Arc::new(fonts)
    };
    FONTS.get_or_init(load).clone()
}

/// Renders a drawing.
pub(super) fn png(svg: &str) -> Result<Vec<u8>, EngineError> {
    let failed = |error: &dyn std::fmt::Display| EngineError::internal(format!("the map could not be drawn: {error}"));
    let options = Options { fontdb: fonts(), font_family: "sans-serif".to_owned(), ..Options::default() };
    let tree = Tree::from_str(svg, &options).map_err(|e| failed(&e))?;
    let size = tree.size();
    let (width, height) = ((size.width() * ZOOM).round() as u32, (size.height() * ZOOM).round() as u32);
    let mut picture = Pixmap::new(width, height).ok_or_else(|| failed(&"it has no size"))?;
    resvg::render(&tree, Transform::from_scale(ZOOM, ZOOM), &mut picture.as_mut());
    picture.encode_png().map_err(|e| failed(&e))
}
