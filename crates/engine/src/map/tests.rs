use super::*;

#[test]
fn a_map_is_drawn() {
    let map = DocumentMap {
        title: "notes".to_owned(),
        note: String::new(),
        points: vec![[0.0, 1.0], [1.0, 0.0]],
        colouring: Colouring::Groups { of: vec![Some(0), None], labels: vec!["a".to_owned()] },
        hover: Vec::new(),
    };
    assert!(map.svg().contains("<circle"));
    assert!(!map.png().unwrap().is_empty());
}
