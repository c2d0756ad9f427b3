//! Guards the direction of knowledge between the crates: each may name only those below it.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{CargoOpt, DependencyKind, MetadataCommand};

/// What each crate may depend on, tests excluded. A crate that is missing here fails the test, so that a new one is
/// given its place on purpose.
const ALLOWED: &[(&str, &[&str])] = &[
    ("anser-core", &[]),
    ("anser-models", &["anser-core"]),
    ("anser-embed", &["anser-core", "anser-kernels", "anser-models"]),
    ("anser-kernels", &[]),
    ("anser-generate", &["anser-core", "anser-kernels", "anser-models"]),
    ("anser-tune", &["anser-core", "anser-generate", "anser-kernels", "anser-models"]),
    ("anser-index", &["anser-core", "anser-kernels"]),
    ("anser-engine", &["anser-core", "anser-index"]),
    ("anser-server", &["anser-core", "anser-engine"]),
    (
        "anser",
        &[
            "anser-core",
            "anser-kernels",
            "anser-models",
            "anser-embed",
            "anser-generate",
            "anser-tune",
            "anser-index",
            "anser-engine",
            "anser-server",
        ],
    ),
    (
        "anser-bench",
        &[
            "anser-core",
            "anser-kernels",
            "anser-models",
            "anser-embed",
            "anser-generate",
            "anser-tune",
            "anser-index",
            "anser-engine",
            "anser-server",
        ],
    ),
    ("anser-example-client", &[]),
    (FEATURES, &[]),
];

/// Has no code: it only unifies the features of third-party libraries, and anybody may name it.
const FEATURES: &str = "anser-workspace-hack";

/// Libraries that the contract crate must never know.
const FORBIDDEN_IN_CORE: &[&str] = &["tokio", "axum", "candle-core", "arrow", "ort", "rusqlite"];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .features(CargoOpt::AllFeatures)
        .no_deps()
        .exec()
        .expect("cargo metadata runs");
    let normal = |p: &cargo_metadata::Package| {
        p.dependencies.iter().filter(|d| d.kind != DependencyKind::Development).map(|d| d.name.clone()).collect()
    };
    metadata.packages.iter().map(|p| (p.name.to_string(), normal(p))).collect()
}

#[test]
fn crates_know_only_what_lies_below_them() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    for (package, dependencies) in dependencies() {
        let may = allowed.get(package.as_str()).unwrap_or_else(|| panic!("{package} has no place in ALLOWED"));
        for dependency in dependencies.iter().filter(|d| d.starts_with("anser") && *d != FEATURES) {
            assert!(may.contains(&dependency.as_str()), "{package} must not depend on {dependency}");
        }
    }
}

#[test]
fn the_contract_crate_stays_light() {
    let core = &dependencies()["anser-core"];
    for name in FORBIDDEN_IN_CORE {
        assert!(!core.contains(*name), "anser-core must not depend on {name}");
    }
}
