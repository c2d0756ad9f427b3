use std::collections::BTreeMap;
use std::path::Path;

use quick_xml::Reader;
use quick_xml::events::Event;

use super::*;
use crate::limits::{Limits, Share};
use crate::machine::Machine;
use crate::plot::{Plot, Series};
use crate::report::{PeerRecord, Quality, Ratio};
use crate::stats::Spread;
use crate::workload::{self, Scale};

const HOSTILE: &str = "<script>alert(\"1\")</script> & 'more' \u{7}";

fn row(figure: &str, contender: &str, median: f64) -> Row {
    let spread = Spread { median, min: median * 0.9, max: median * 1.1, runs: 3 };
    Row {
        figure: figure.into(),
        unit: "texts/s",
        contender: contender.into(),
        spread,
        less_is_better: false,
        ratio: Some(Ratio { of: "Anser".into(), to: HOSTILE.into(), spread }),
        quality: Some(Quality { worst: Some(0.5), ..Quality::new("cosine", 0.999_99) }),
        share_of_limit: Some(Share { limit: "f32 GEMM", share: 0.61 }),
    }
}

fn report() -> Report {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/workloads"));
    let limits = |threads| Limits {
        threads,
        gemm_f32_flops: 2e11,
        gemm_bf16_flops: 4e11,
        gemm_int8_ops: 8e11,
        copy_bytes: 1e10,
    };
    let measured = |workload: workload::Workload| Measured {
        limits: vec![limits(1), limits(2)],
        models: vec![ModelRecord {
            name: "a model".into(),
            files: BTreeMap::from([("model.onnx".to_owned(), "0123abcd".to_owned())]),
        }],
        peers: vec![
            PeerRecord { label: HOSTILE.into(), state: PeerState::Absent(HOSTILE.into()) },
            PeerRecord {
                label: "p".into(),
                state: PeerState::Versions(BTreeMap::from([("lib".into(), "1.2".into())])),
            },
        ],
        rows: vec![
            row(&format!("{} fast", workload.name), "Anser bf16", 333.25),
            row(&format!("{} fast", workload.name), HOSTILE, 156.75),
            row(&format!("{} wide", workload.name), "Anser bf16", 12.5),
        ],
        notes: vec![format!("note of {} {HOSTILE}", workload.name)],
        plots: vec![Plot {
            name: "growth".into(),
            title: HOSTILE.into(),
            x: "rows".into(),
            series: vec![Series { name: HOSTILE.into(), points: vec![(1e3, 5.0), (1e4, 50.0)] }],
        }],
        workload,
    };
    let workloads = workload::read_all(folder).unwrap().into_iter().map(measured).collect();
    Report { machine: Machine::here(), scale: Scale::Full, workloads }
}

/// Every text of the page, in order; fails where it is not well-formed.
fn texts(page: &str) -> Vec<String> {
    let mut reader = Reader::from_str(page);
    reader.config_mut().check_end_names = true;
    let (mut texts, mut open) = (vec![String::new()], 0);
    loop {
        match reader.read_event().expect("the page is well-formed") {
            Event::Eof => break,
            Event::Start(tag) => {
                tag.attributes().for_each(|attribute| drop(attribute.expect("attributes are well-formed")));
                open += 1;
                texts.push(String::new());
            }
            Event::End(_) => {
                open -= 1;
                texts.push(String::new());
            }
            Event::Text(text) => texts.last_mut().unwrap().push_str(&text),
            Event::GeneralRef(name) => {
                let known = match &*name {
                    "lt" => "<",
                    "gt" => ">",
                    "amp" => "&",
                    "quot" => "\"",
                    "#39" => "'",
                    other => panic!("the reference {other} is not known"),
                };
                texts.last_mut().unwrap().push_str(known);
            }
            _ => {}
        }
    }
    assert_eq!(open, 0, "every element ends");
    texts.into_iter().filter(|text| !text.trim().is_empty()).collect()
}

#[test]
fn the_page_is_well_formed_and_holds_every_row_note_hash_and_version() {
    let report = report();
    let page = page(&report);
    let texts = texts(&page);
    let holds = |wanted: &str| texts.iter().any(|text| text.contains(wanted));
    for measured in &report.workloads {
        for row in &measured.rows {
            let shown = row.contender.replace('\u{7}', "\u{fffd}");
            assert!(texts.contains(&row.figure) && texts.contains(&shown), "{} of {}", row.figure, row.contender);
            assert!(texts.contains(&wording::number(row.spread.median)), "{}", row.spread.median);
            assert!(holds("61 % of f32 GEMM") && holds("cosine 0.999990, worst 0.5000"));
        }
        assert!(holds(&format!("note of {}", measured.workload.name)));
    }
    for wanted in [
        "0123abcd",
        "lib 1.2",
        "Not available: <script>",
        &report.machine.cpu,
        "200 GFLOP/s in f32, 400 in bf16, 800 in int8",
    ] {
        assert!(holds(wanted), "{wanted}");
    }
    // Two drawings for each workload, and every row has its bar.
    let rows: usize = report.workloads.iter().map(|measured| measured.rows.len()).sum();
    assert_eq!((page.matches("<svg").count(), page.matches("<rect").count()), (2 * report.workloads.len(), rows));
}

#[test]
fn nothing_that_is_measured_becomes_markup_and_nothing_is_fetched() {
    let page = page(&report());
    assert!(!page.contains("<script") && !page.contains("src="), "{page}");
    let links = page.matches("href=").count();
    assert_eq!(links, page.matches("href=\"#").count());
    // The namespace of SVG is a name, not something to fetch.
    assert_eq!(page.matches("http").count(), page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count());
}
