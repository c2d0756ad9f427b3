//! The map as a PNG file.

use std::sync::{Arc, OnceLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use crate::EngineError;

/// Pixels of the picture for one of the drawing: 1280 x 960 becomes 1600 x 1200.
const ZOOM: f32 = 1.25;

/// The fonts of the machine and the program's own. Read once: a machine may have thousands.
pub(super) fn fonts() -> Arc<fontdb::Database> {
    static FONTS: OnceLock<Arc<fontdb::Database>> = OnceLock::new();
    let load = || {
        let mut fonts = own_fonts();
        fonts.load_system_fonts();
        Arc::new(fonts)
    };
    FONTS.get_or_init(load).clone()
}

/// Fonts that need no machine to have any: what a drawing asks for in vain is drawn with the first of them.
fn own_fonts() -> fontdb::Database {
    let mut fonts = fontdb::Database::new();
    for font in [epaint_default_fonts::UBUNTU_LIGHT, epaint_default_fonts::NOTO_EMOJI_REGULAR] {
        fonts.load_font_data(font.to_vec());
    }
    let first = fonts.faces().next().and_then(|face| face.families.first().map(|(name, _)| name.clone()));
    if let Some(first) = first {
        fonts.set_sans_serif_family(first);
    }
    fonts
}

/// Renders a drawing.
pub(super) fn png(svg: &str, fonts: Arc<fontdb::Database>) -> Result<Vec<u8>, EngineError> {
    let failed = |error: &dyn std::fmt::Display| EngineError::internal(format!("the map could not be drawn: {error}"));
    let options = Options { fontdb: fonts, font_family: "sans-serif".to_owned(), ..Options::default() };
    let tree = Tree::from_str(svg, &options).map_err(|e| failed(&e))?;
    let size = tree.size();
    let (width, height) = ((size.width() * ZOOM).round() as u32, (size.height() * ZOOM).round() as u32);
    let mut picture = Pixmap::new(width, height).ok_or_else(|| failed(&"it has no size"))?;
    resvg::render(&tree, Transform::from_scale(ZOOM, ZOOM), &mut picture.as_mut());
    picture.encode_png().map_err(|e| failed(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_shows_on_a_machine_without_fonts() {
        let svg = |words: &str| {
            format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"200\" height=\"40\" font-family=\"'Segoe UI',sans-serif\">\
                <text x=\"10\" y=\"28\" font-size=\"20\" font-weight=\"600\">{words}</text></svg>"
            )
        };
        let own = Arc::new(own_fonts());
        let ink = |words: &str| {
            let picture = Pixmap::decode_png(&png(&svg(words), own.clone()).unwrap()).unwrap();
            picture.pixels().iter().filter(|pixel| pixel.alpha() > 128).count()
        };
        assert!(ink("coffee") > 100 && ink("☕") > 20 && ink("") == 0, "{} {}", ink("coffee"), ink("☕"));
    }
}
