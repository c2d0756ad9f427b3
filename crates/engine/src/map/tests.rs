use quick_xml::Reader;
use quick_xml::events::Event;
use resvg::tiny_skia::Pixmap;

use super::layout::Rect;
use super::*;

/// `groups` groups of `each` points in squares of their own.
fn grouped_map(groups: u32, each: u32) -> DocumentMap {
    let side = f64::from(groups).sqrt().ceil() as u32;
    let (mut points, mut of, mut hover) = (Vec::new(), Vec::new(), Vec::new());
    for at in 0..groups * each {
        let (group, member) = (at % groups, at / groups);
        let (x, y) = ((group % side) as f32 * 3.0, (group / side) as f32 * 3.0);
        points.push([x + (member % 7) as f32 * 0.2, y + (member / 7 % 7) as f32 * 0.2]);
        of.push(Some(group));
        hover.push(format!("document {at}\nits text"));
    }
    let labels = (0..groups).map(|group| format!("group {group}, some keywords of it")).collect();
    let colouring = Colouring::Groups { of, labels, rest: false };
    DocumentMap { title: "notes".to_owned(), note: "A note.".to_owned(), points, colouring, hover }
}

fn scaled_map(values: Vec<Option<f64>>) -> DocumentMap {
    let points = (0..values.len()).map(|at| [at as f32, (at * at % 17) as f32]).collect();
    let colouring = Colouring::Scale { values, name: "score".to_owned() };
    DocumentMap { title: "notes".to_owned(), note: String::new(), points, colouring, hover: Vec::new() }
}

/// A drawing that was read back.
#[derive(Default)]
struct Drawing {
    texts: String,
    /// Elements within the group of points.
    marks: usize,
    tags: Vec<Rect>,
}

/// Reads a drawing; fails when it is not well-formed.
fn read_back(svg: &str) -> Drawing {
    let mut reader = Reader::from_str(svg);
    reader.config_mut().check_end_names = true;
    let (mut drawing, mut depth, mut points) = (Drawing::default(), 0_i32, None);
    loop {
        let event = reader.read_event().unwrap();
        match &event {
            Event::Start(tag) | Event::Empty(tag) => {
                let attributes: Vec<(String, String)> = tag
                    .attributes()
                    .map(|a| a.unwrap())
                    .map(|a| (AsRef::<str>::as_ref(&a.key).to_owned(), a.value.to_string()))
                    .collect();
                let get = |name: &str| attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
                let number = |name: &str| get(name).unwrap().parse::<f32>().unwrap();
                if points.is_some_and(|at| at == depth - 1) {
                    drawing.marks += 1;
                }
                if get("class") == Some("tag") {
                    let (width, height) = (number("width"), number("height"));
                    drawing.tags.push(Rect { left: number("x"), top: number("y"), width, height });
                }
                if get("class") == Some("points") {
                    points = Some(depth);
                }
                depth += i32::from(matches!(event, Event::Start(_)));
            }
            Event::End(_) => {
                depth -= 1;
                if points == Some(depth) {
                    points = None;
                }
            }
            Event::Text(text) => drawing.texts.push_str(text),
            Event::GeneralRef(entity) => {
                drawing.texts.push_str(quick_xml::escape::resolve_xml_entity(entity).unwrap());
            }
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(depth, 0);
    drawing
}

#[test]
fn a_map_is_well_formed_and_shows_every_document_and_group() {
    let mut map = grouped_map(3, 20);
    map.title = "a < b & \"c\" \u{0}\u{1b}[1m 咖啡".to_owned();
    map.hover[7] = "<script>alert('x')</script> & 红茶".to_owned();
    let Colouring::Groups { of, labels, .. } = &mut map.colouring else { panic!("groups") };
    labels[1] = "R&D <b>".to_owned();
    of[0] = None;
    let drawing = read_back(&map.svg());
    assert_eq!(drawing.marks, 60);
    for words in ["a < b & \"c\" [1m 咖啡", "A note.", "R&D <b>", "none", "19", "<script>alert('x')</script> & 红茶"]
    {
        assert!(drawing.texts.contains(words), "{words}: {}", drawing.texts);
    }
    for at in (0..60).filter(|at| *at != 7) {
        assert!(drawing.texts.contains(&format!("document {at}")));
    }
}

#[test]
fn names_on_the_map_do_not_cover_each_other() {
    for groups in [2, 9, 24, 40] {
        let mut map = grouped_map(groups, 30);
        // All groups nearly on one spot: the hardest case.
        for point in &mut map.points {
            *point = [point[0] * 0.02 + point[0].fract(), point[1] * 0.02 + point[1].fract()];
        }
        for map in [grouped_map(groups, 30), map] {
            let tags = read_back(&map.svg()).tags;
            for (at, tag) in tags.iter().enumerate() {
                assert!(tags[at + 1..].iter().all(|other| !other.overlaps(tag)), "{groups} groups: {tags:?}");
            }
        }
        assert!(read_back(&grouped_map(groups, 30).svg()).tags.len() >= (groups as usize).min(24));
    }
}

#[test]
fn many_points_are_sampled_and_the_note_says_so() {
    let map = grouped_map(2, 15_000);
    let drawing = read_back(&map.svg());
    assert_eq!(drawing.marks, PICTURE_POINTS);
    assert!(drawing.texts.contains("A note. Drawn: a random 20,000 of 30,000 documents."), "{}", &drawing.texts[..300]);
    assert!(drawing.texts.contains("15,000"), "the legend counts all");
    assert!(map.html().contains("\"x\":[") && !map.html().contains("Drawn:"));
    assert_eq!(DocumentMap::shown(250_000).len(), PAGE_POINTS);
    assert_eq!(DocumentMap::shown(250_000), DocumentMap::shown(250_000));
}

#[test]
fn more_groups_than_the_legend_has_room_for_are_counted() {
    let drawing = read_back(&grouped_map(70, 3).svg());
    assert!(drawing.texts.contains("more groups"), "{}", drawing.texts);
}

#[test]
fn a_scale_has_a_bar_and_its_numbers() {
    let mut values: Vec<Option<f64>> = (0..50).map(|at| Some(f64::from(at))).collect();
    values[3] = None;
    values[4] = Some(f64::NAN);
    let drawing = read_back(&scaled_map(values).svg());
    for words in ["score", "0", "20", "49", "none"] {
        assert!(drawing.texts.contains(words), "{words}: {}", drawing.texts);
    }
    assert_eq!(drawing.marks, 50);
}

#[test]
fn odd_maps_are_drawn_without_numbers_that_are_none() {
    let mut nan = grouped_map(2, 3);
    nan.points[0] = [f32::NAN, 1.0];
    nan.points[1] = [f32::INFINITY, 1.0];
    nan.points[2] = [f32::MAX, f32::MIN];
    let mut none = grouped_map(1, 0);
    none.note = String::new();
    let mut same = grouped_map(3, 10);
    same.points.fill([2.0, 2.0]);
    let mut short = grouped_map(3, 5);
    short.hover.truncate(2);
    if let Colouring::Groups { of, .. } = &mut short.colouring {
        of.truncate(3);
        of[0] = Some(99);
    }
    let maps = [nan, none, same, short, grouped_map(1, 1), scaled_map(vec![None; 4]), scaled_map(vec![Some(1.0); 4])];
    for map in &maps {
        let (svg, html) = (map.svg(), map.html());
        read_back(&svg);
        assert!(!svg.contains("NaN") && !svg.contains("inf\""), "{svg}");
        assert!(!html.contains("NaN") && html.contains("\"x\":["));
        assert!(map.png().unwrap().starts_with(b"\x89PNG"));
    }
    assert_eq!(read_back(&maps[0].svg()).marks, 3);
}

#[test]
fn a_picture_has_points_where_they_are_and_text_that_shows() {
    let mut map = grouped_map(1, 1);
    map.points = vec![[0.0, 0.0], [1.0, 1.0]];
    map.colouring = Colouring::Groups { of: vec![Some(0), Some(0)], labels: vec!["a".to_owned()], rest: false };
    let picture = Pixmap::decode_png(&map.png().unwrap()).unwrap();
    assert_eq!((picture.width(), picture.height()), (1600, 1200));
    let pixel = |x: u32, y: u32| {
        let colour = picture.pixel(x, y).unwrap();
        [colour.red(), colour.green(), colour.blue()]
    };
    let fit = |svg: &str, wanted: usize| {
        let circles: Vec<&str> = svg.split("<circle").skip(1).collect();
        let value = |name: &str| {
            let rest = circles[wanted].split_once(&format!("{name}=\"")).unwrap().1;
            rest.split_once('"').unwrap().0.parse::<f32>().unwrap()
        };
        ((value("cx") * 1.25) as u32, (value("cy") * 1.25) as u32)
    };
    let svg = map.svg();
    for point in 0..2 {
        let (x, y) = fit(&svg, point);
        let [red, green, blue] = pixel(x, y);
        assert!(red.abs_diff(green) > 30 || green.abs_diff(blue) > 30, "no colour at {x}, {y}: {red} {green} {blue}");
    }
    // The title is in the upper left corner: dark pixels there are letters.
    let dark = |left: u32, right: u32| {
        let area = (left..right).flat_map(|x| (30..62).map(move |y| (x, y)));
        area.filter(|(x, y)| pixel(*x, *y)[0] < 120).count()
    };
    assert!(dark(38, 130) > 60, "the title \"notes\" is not there");
    assert_eq!(dark(800, 1500), 0);
}

#[test]
fn words_of_documents_do_nothing_in_a_page() {
    let mut map = grouped_map(2, 3);
    let hostile = "</script><script>alert(1)</script><!-- {{script}} \u{2028} & <b>";
    map.title = hostile.to_owned();
    map.note = hostile.to_owned();
    map.hover[0] = hostile.to_owned();
    if let Colouring::Groups { labels, .. } = &mut map.colouring {
        labels[0] = hostile.to_owned();
    }
    let page = map.html();
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script>").count(), 2);
    assert!(!page.contains("alert(1)</") && !page.contains("<!--") && !page.contains("<b>"));
    let data = page.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    let hover: Vec<&str> = data["hover"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    assert!(hover.contains(&hostile), "the words themselves are kept");
    assert_eq!(data["x"].as_array().unwrap().len(), 6);
    assert!(page.contains("default-src 'none'; script-src 'sha256-"));
    assert!(!page.contains("https:") && !page.contains("src=") && !page.contains("@import"), "it needs no network");
}

#[test]
fn the_same_map_gives_the_same_bytes() {
    let map = grouped_map(5, 40);
    assert_eq!(map.svg(), map.svg());
    assert_eq!(map.html(), map.html());
    assert_eq!(map.png().unwrap(), map.png().unwrap());
}

#[test]
fn many_small_groups_together_are_grey_and_under_the_others() {
    let mut map = grouped_map(6, 40);
    let ordinary = map.colouring.mark_of_group(5);
    if let Colouring::Groups { of, labels, rest } = &mut map.colouring {
        *rest = true;
        labels[5] = "70 other values".to_owned();
        of[0] = None;
    }
    let mark = map.colouring.mark_of_group(5);
    assert_eq!(mark, Mark::rest());
    assert!(mark != ordinary && mark != Mark::none());
    assert_eq!(map.colouring.mark_of_group(4), Mark::of(4, 6));

    let drawn = map.drawn(PICTURE_POINTS);
    let grey: Vec<bool> = drawn.iter().map(|at| at % 6 == 5 || *at == 0).collect();
    assert_eq!(grey.iter().take_while(|grey| **grey).count(), 41, "all of them come first");
    assert_eq!(grey.iter().filter(|grey| **grey).count(), 41);
    let svg = map.svg();
    let fill = |at: usize| svg[at..].split_once("fill=\"").unwrap().1.split('"').next().unwrap().to_owned();
    let first = fill(svg.find("class=\"points\"").unwrap());
    assert!([Mark::rest().colour, Mark::none().colour].contains(&first), "{first}");
    // In the legend, not on the map, where it would stand beside whatever is there.
    assert_eq!(read_back(&svg).texts.matches("70 other values").count(), 1);
    assert!(map.html().contains(&format!("\"70 other values\",\"colour\":\"{}\"", Mark::rest().colour)));

    // A sample of many is still a random one.
    map.points = vec![[0.0, 1.0]; 1200];
    map.colouring = Colouring::Groups {
        of: (0..1200).map(|at| Some(at % 2)).collect(),
        labels: vec!["a".to_owned(), "other values".to_owned()],
        rest: true,
    };
    let grey = map.drawn(300).iter().filter(|at| map.colouring.is_grey(**at)).count();
    assert!((100..200).contains(&grey), "{grey} of 300");
}
