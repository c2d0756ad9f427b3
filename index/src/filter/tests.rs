//! What filters read, write and let through.

use anser_core::{AttributeValue, Attributes};
use proptest::prelude::*;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Filter, FilterPlace};
use crate::IndexError;

fn parse(text: &str) -> Filter {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// The JSON of what an expression reads as.
fn as_json(text: &str) -> Value {
    serde_json::to_value(parse(text)).unwrap()
}

fn fault(error: IndexError) -> (FilterPlace, String) {
    match error {
        IndexError::Filter { place, reason } => (place, reason),
        other => panic!("{other}"),
    }
}

#[test]
fn an_expression_reads_as_the_json_that_it_stands_for() {
    let compared = |kind: &str, value: Value| json!({"type": kind, "key": "a", "value": value});
    for (text, expected) in [
        ("a = 1", compared("eq", json!(1))),
        ("a==1.5", compared("eq", json!(1.5))),
        ("a != -2", compared("ne", json!(-2))),
        ("a <> true", compared("ne", json!(true))),
        ("a < 1e3", compared("lt", json!(1000.0))),
        ("a <= x-y.z", compared("lte", json!("x-y.z"))),
        ("a > 2024-05-01", compared("gt", json!("2024-05-01T00:00:00Z"))),
        ("a >= 2024-05-01T12:30", compared("gte", json!("2024-05-01T12:30:00Z"))),
        ("a >= 2024-05-01T12:30:00+02:00", compared("gte", json!("2024-05-01T12:30:00+02:00"))),
        ("a = \"2024-05-01\"", compared("eq", json!("2024-05-01"))),
        ("a = \"4\"", compared("eq", json!("4"))),
        ("a = 'it\\'s \\u{e4}\\n'", compared("eq", json!("it's ä\n"))),
        ("a = [\"x\", y]", compared("eq", json!(["x", "y"]))),
        ("a in [1, two, \"3\"]", compared("in", json!([1, "two", "3"]))),
        ("a IN ('x')", compared("in", json!(["x"]))),
        ("a not in []", compared("nin", json!([]))),
        ("a = 9223372036854775808", compared("eq", json!(9_223_372_036_854_775_808.0))),
    ] {
        assert_eq!(as_json(text), expected, "{text}");
    }
    assert_eq!(parse("\"odd key\" = 1"), parse("'odd key' = 1"));
    assert_eq!(parse("größe = 1").keys().into_iter().collect::<Vec<_>>(), ["größe"]);
}

#[test]
fn and_binds_tighter_than_or_and_not_tightest() {
    assert_eq!(parse("a=1 or b=2 and not c=3"), parse("(a=1) OR ((b=2) AND (NOT (c=3)))"));
    assert_ne!(parse("a=1 or b=2 and c=3"), parse("(a=1 or b=2) and c=3"));
    let three = parse("a=1 and b=2 and c=3");
    assert!(matches!(&three, Filter::And { filters } if filters.len() == 3), "{three:?}");
    assert_eq!(parse("not not a in [1]").to_string(), "not not a in [1]");
    let written = "score >= 4 and (lang = \"en\" or not tags in [\"a\", \"b\"]) and time > 2024-05-01T00:00:00Z";
    assert_eq!(parse(written).to_string(), written);
}

#[test]
fn faults_of_an_expression_name_the_column_and_what_belongs_there() {
    for (text, column, expected) in [
        ("", 1, "the name of an attribute"),
        ("score", 6, "one of = !="),
        ("score = ", 9, "a value"),
        ("score = and", 9, "a value"),
        ("score >= 4 lang = en", 12, "`and`, `or` or the end"),
        ("(a = 1", 7, "`)`"),
        ("a = 1)", 6, "nothing is open"),
        ("a in x", 6, "a list"),
        ("a in [1 2]", 9, "`,` or `]`"),
        ("a not = 1", 7, "`in` after `not`"),
        ("a > [1]", 5, "no order"),
        ("a = [1]", 6, "a text in quotes"),
        ("a = \"x", 5, "closing \""),
        ("a = \"\\q\"", 6, "after the backslash"),
        ("a = \"\\u{110000}\"", 6, "hexadecimal"),
        ("a & b", 3, "`and`"),
        ("a = 1 || b = 2", 7, "`or`"),
        ("a ! 1", 3, "`!=`"),
        ("a = 1e999", 5, "64 bits"),
        ("a = null", 5, "null"),
        ("a contains b", 3, "write `=`"),
        ("5 = a", 1, "the name of an attribute"),
        ("ä = ~", 5, "in quotes"),
    ] {
        let (place, reason) = fault(text.parse::<Filter>().unwrap_err());
        assert_eq!(place, FilterPlace::Column(column), "{text}: {reason}");
        assert!(reason.contains(expected), "{text}: {reason}");
    }
}

#[test]
fn faults_of_json_name_the_path_and_what_belongs_there() {
    let eq = |value: Value| json!({"type": "eq", "key": "a", "value": value});
    for (filter, path, expected) in [
        (json!(5), "", "an object"),
        (json!({"key": "a", "value": 1}), "", "no \"type\""),
        (json!({"type": "like", "key": "a", "value": 1}), "type", "eq, ne"),
        (json!({"type": 3}), "type", "eq, ne"),
        (json!({"type": "eq", "value": 1}), "", "no \"key\""),
        (json!({"type": "eq", "key": 1, "value": 1}), "key", "name of an attribute"),
        (json!({"type": "eq", "key": "a"}), "", "no \"value\""),
        (json!({"type": "eq", "key": "a", "value": 1, "x": 1}), "", "type, key, value"),
        (eq(json!(null)), "value", "null"),
        (eq(json!({})), "value", "a string, a number"),
        (eq(json!(["a", 1])), "value[1]", "use in"),
        (json!({"type": "gt", "key": "a", "value": ["a"]}), "value", "no order"),
        (json!({"type": "in", "key": "a", "value": 1}), "value", "a list"),
        (json!({"type": "nin", "key": "a", "value": [1, []]}), "value[1]", "a string, a number"),
        (json!({"type": "and", "filters": []}), "filters", "at least one"),
        (json!({"type": "and"}), "", "no \"filters\""),
        (json!({"type": "or", "filters": [eq(json!(1)), eq(json!(null))]}), "filters[1].value", "null"),
        (json!({"type": "not", "filter": {"type": "or", "filters": [7]}}), "filter.filters[0]", "an object"),
        (json!({"type": "not"}), "", "no \"filter\""),
    ] {
        let (place, reason) = fault(Filter::from_json(&filter).unwrap_err());
        assert_eq!(place, FilterPlace::path(path), "{filter}: {reason}");
        assert!(reason.contains(expected), "{filter}: {reason}");
        let told = serde_json::from_value::<Filter>(filter).unwrap_err().to_string();
        assert!(told.contains(&reason), "{told}");
    }
    assert_eq!("{\"type\": \"eq\", \"key\": \"a\", \"value\": 1}".parse::<Filter>().unwrap(), parse("a = 1"));
    assert!("{\"type\"".parse::<Filter>().unwrap_err().to_string().contains("not valid JSON"));
}

#[test]
fn depth_and_size_are_bounded() {
    let nots = |n: usize| {
        (0..n).fold(json!({"type": "eq", "key": "a", "value": 1}), |f, _| json!({"type": "not", "filter": f}))
    };
    assert!(Filter::from_json(&nots(31)).is_ok());
    let (place, reason) = fault(Filter::from_json(&nots(32)).unwrap_err());
    assert!(reason.contains("32 deep") && place != FilterPlace::Whole, "{place:?} {reason}");
    for deep in ["(".repeat(100_000) + "a = 1", "not ".repeat(50_000) + "a = 1", format!("{}a = 1", "not ".repeat(32))]
    {
        assert!(fault(deep.parse::<Filter>().unwrap_err()).1.contains("deep"));
    }
    assert!(format!("{}a = 1", "not ".repeat(31)).parse::<Filter>().is_ok());
    let wide = |n: usize| vec!["a = 1"; n].join(" or ");
    assert!(wide(999).parse::<Filter>().is_ok());
    assert!(fault(wide(1000).parse::<Filter>().unwrap_err()).1.contains("1001 conditions"));
    let list = |n: usize| json!({"type": "in", "key": "a", "value": vec![1; n]});
    assert!(Filter::from_json(&list(10_000)).is_ok());
    assert!(fault(Filter::from_json(&list(10_001)).unwrap_err()).1.contains("10001 values"));
    assert!(fault("a".repeat(1 << 19).parse::<Filter>().unwrap_err()).1.contains("longer than"));
}

#[test]
fn numbers_compare_without_rounding() {
    let document: Attributes = [
        ("n".to_owned(), AttributeValue::Integer(9_007_199_254_740_993)),
        ("f".to_owned(), AttributeValue::Float(2.5)),
    ]
    .into();
    for (text, expected) in [
        ("n > 9007199254740992.0", true),
        ("n = 9007199254740992.0", false),
        ("n < 1e300", true),
        ("n > -1e300", true),
        ("f > 2 and f < 3", true),
        ("f >= -3 and not f <= 2", true),
        ("f = 2.5", true),
        ("f = \"2.5\"", false),
    ] {
        assert_eq!(parse(text).matches(&document), expected, "{text}");
    }
}

/// One document's attributes and the filters over them, from domains so small that conditions often hold.
const KEYS: [&str; 4] = ["a", "b", "not", "odd key\n"];

fn scalar() -> impl Strategy<Value = AttributeValue> {
    prop_oneof![
        any::<bool>().prop_map(AttributeValue::Bool),
        (-2i64..3).prop_map(AttributeValue::Integer),
        any::<i64>().prop_map(AttributeValue::Integer),
        (-4i32..5).prop_map(|n| AttributeValue::Float(f64::from(n) / 2.0)),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(AttributeValue::Float),
        (0i64..3).prop_map(|n| AttributeValue::Time(OffsetDateTime::from_unix_timestamp(n * 86_400).unwrap())),
        prop_oneof![Just("x".to_owned()), Just("y".to_owned()), ".{0,8}"].prop_map(AttributeValue::String),
    ]
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(prop_oneof![Just("x".to_owned()), Just("y".to_owned()), ".{0,4}"], 0..3)
}

fn attribute() -> impl Strategy<Value = AttributeValue> {
    prop_oneof![4 => scalar(), 1 => texts().prop_map(AttributeValue::StringList)]
}

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(&KEYS[..]).prop_map(str::to_owned)
}

fn comparison() -> impl Strategy<Value = Filter> {
    prop_oneof![
        (key(), attribute()).prop_map(|(key, value)| Filter::Eq { key, value }),
        (key(), attribute()).prop_map(|(key, value)| Filter::Ne { key, value }),
        (key(), scalar()).prop_map(|(key, value)| Filter::Gt { key, value }),
        (key(), scalar()).prop_map(|(key, value)| Filter::Gte { key, value }),
        (key(), scalar()).prop_map(|(key, value)| Filter::Lt { key, value }),
        (key(), scalar()).prop_map(|(key, value)| Filter::Lte { key, value }),
        (key(), prop::collection::vec(scalar(), 0..4)).prop_map(|(key, value)| Filter::In { key, value }),
        (key(), prop::collection::vec(scalar(), 0..4)).prop_map(|(key, value)| Filter::Nin { key, value }),
    ]
}

/// Trees whose `and` and `or` join at least `fewest` conditions.
fn filter(fewest: usize) -> impl Strategy<Value = Filter> {
    comparison().prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), fewest..4).prop_map(|filters| Filter::And { filters }),
            prop::collection::vec(inner.clone(), fewest..4).prop_map(|filters| Filter::Or { filters }),
            inner.prop_map(|filter| Filter::Not { filter: Box::new(filter) }),
        ]
    })
}

fn document() -> impl Strategy<Value = Attributes> {
    prop::collection::btree_map(key(), attribute(), 0..4)
}

/// The rules once more, on JSON: every comparison of two values is worked out as below, equal or above, or nothing.
fn naive(filter: &Value, document: &Value) -> bool {
    let all = |name: &str| filter[name].as_array().unwrap().iter().map(|f| naive(f, document)).collect::<Vec<_>>();
    match filter["type"].as_str().unwrap() {
        "and" => !all("filters").contains(&false),
        "or" => all("filters").contains(&true),
        "not" => !naive(&filter["filter"], document),
        kind => {
            let found = document.get(filter["key"].as_str().unwrap());
            let value = &filter["value"];
            let same = |value: &Value| {
                let Some(found) = found else { return false };
                match (found, value) {
                    (Value::Array(texts), Value::String(_)) => texts.contains(value),
                    _ => found == value || order(found, value) == Some(0),
                }
            };
            let ordered = found.and_then(|found| order(found, value));
            match kind {
                "eq" => same(value),
                "ne" => !same(value),
                "in" => value.as_array().unwrap().iter().any(same),
                "nin" => !value.as_array().unwrap().iter().any(same),
                "gt" => ordered == Some(1),
                "gte" => matches!(ordered, Some(0 | 1)),
                "lt" => ordered == Some(-1),
                _ => matches!(ordered, Some(-1 | 0)),
            }
        }
    }
}

fn order(a: &Value, b: &Value) -> Option<i32> {
    let sign = |less: bool, more: bool| Some(i32::from(more) - i32::from(less));
    let time = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => sign(!*a && *b, *a && !*b),
        (Value::String(a), Value::String(b)) => match (time(a), time(b)) {
            (Some(a), Some(b)) => sign(a < b, a > b),
            (None, None) => sign(a < b, a > b),
            _ => None,
        },
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => sign(a < b, a > b),
            (None, None) => sign(a.as_f64() < b.as_f64(), a.as_f64() > b.as_f64()),
            (Some(a), None) => Some(wide(a, b.as_f64()?)),
            (None, Some(b)) => Some(-wide(b, a.as_f64()?)),
        },
        _ => None,
    }
}

/// A whole number against the whole numbers beside a float, or by sign where the float is larger than all of them.
fn wide(whole: i64, float: f64) -> i32 {
    if float.abs() >= 1e30 {
        return if float > 0.0 { -1 } else { 1 };
    }
    let (floor, ceiling) = (float.floor() as i128, float.ceil() as i128);
    match i128::from(whole) {
        whole if whole > floor => 1,
        whole if whole < ceiling => -1,
        _ => 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_back_the_same(filter in filter(2)) {
        let text = filter.to_string();
        prop_assert_eq!(&text.parse::<Filter>().unwrap(), &filter, "{}", text);
        let json = serde_json::to_string(&filter).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Filter>(&json).unwrap(), &filter, "{}", json);
    }

    #[test]
    fn lists_of_one_condition_and_of_none_keep_their_meaning(filter in filter(0), document in document()) {
        let text = filter.to_string();
        prop_assert_eq!(text.parse::<Filter>().unwrap().matches(&document), filter.matches(&document), "{}", text);
    }

    #[test]
    fn every_filter_lets_through_what_the_rules_say(filter in filter(0), document in document()) {
        let expected = naive(&serde_json::to_value(&filter).unwrap(), &serde_json::to_value(&document).unwrap());
        prop_assert_eq!(filter.matches(&document), expected, "{} of {:?}", filter, document);
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}") {
        let _ = text.parse::<Filter>();
    }

    #[test]
    fn no_words_make_it_panic(words in prop::collection::vec(prop::sample::select(&[
        "a", "and", "or", "not", "in", "(", ")", "[", "]", ",", "=", "<", "!=", "\"", "'", "\\", "1", "2024-05-01", "-", "\\u{", "ß",
    ][..]), 0..16)) {
        let text = words.join(" ");
        if let Ok(filter) = text.parse::<Filter>() {
            prop_assert_eq!(filter.to_string().parse::<Filter>().unwrap(), filter);
        }
    }

    #[test]
    fn no_json_makes_it_panic(kind in "[a-z]{0,4}|eq|in|and|not", member in "[a-z]{3,7}|value|filters|filter", number in any::<f64>()) {
        let one = json!({"type": kind, "key": "a", member: [number, {"type": "not"}]});
        let _ = Filter::from_json(&json!({"type": "not", "filter": one}));
    }
}
