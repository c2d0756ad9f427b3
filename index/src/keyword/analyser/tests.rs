//! What texts become.

use proptest::prelude::*;

use super::*;

/// All terms, those at one position joined by a bar.
fn terms(text: &str) -> String {
    let mut out = String::new();
    let mut last = None;
    Analyser::new().each(text, &mut |token| {
        if !out.is_empty() {
            out.push(if last == Some(token.position) { '|' } else { ' ' });
        }
        last = Some(token.position);
        out.push_str(token.text);
    });
    out
}

#[test]
fn words_are_stemmed_and_kept() {
    assert_eq!(terms("The runners were running."), "the runner|runners were run|running");
    assert_eq!(terms("café Naïve ＡＢＣ"), "cafe naiv|naive abc");
}

#[test]
fn possessives_contractions_and_elisions() {
    assert_eq!(terms("the dog's bowl, James’s"), "the dog bowl jame|james");
    assert_eq!(terms("don't O'Brien's"), "dont obrien");
    assert_eq!(terms("l'homme d’accord"), "homm|homme accord");
}

#[test]
fn what_punctuation_joins_is_also_one_term() {
    assert_eq!(terms("Wi-Fi"), "wifi|wi fi");
    assert_eq!(terms("AB-1234x"), "ab1234x|ab 1234x|1234 x");
    assert_eq!(terms("R&D, AT&T"), "rd|r d att|at t");
    assert_eq!(terms("end.Next and/or"), "endnext|end next and or");
    assert_eq!(terms("mail john.doe@example.com now"), "mail johndoeexamplecom|john doe exampl com now");
    assert_eq!(terms("snake_case"), "snakecase|snake case");
}

#[test]
fn identifiers_and_codes() {
    assert_eq!(terms("getUserName()"), "getusername|get user name");
    assert_eq!(terms("iPhone eBay HashMap PowerPoint"), "iphon|iphone ebay hashmap powerpoint");
    assert_eq!(terms("iPhone15 5kg MP3"), "iphone15|iphon 15 5kg|5 kg mp3|mp 3");
    assert_eq!(terms("0x80070005 a1b2c3d4"), "0x80070005|0 x 80070005 a1b2c3d4");
    assert_eq!(terms("C++ C# C"), "c|c++ c|c# c");
}

#[test]
fn numbers() {
    assert_eq!(terms("1,000,000 and 3.14"), "1000000 and 3.14|3 14");
    assert_eq!(terms("1,2,3"), "1 2 3");
    assert_eq!(terms("2024-05-01 12:30"), "2024.05.01|2024 05 01 12.30|12 30");
    assert_eq!(terms("١٢"), "١٢");
}

#[test]
fn chinese_and_japanese_are_cut_by_dictionary_and_in_pairs() {
    assert_eq!(terms("我喜欢咖啡"), "我|我喜 喜欢 欢咖 咖啡");
    assert_eq!(terms("买iPhone手机"), "买 iphon|iphone 手机");
    assert_eq!(terms("東京タワーへ行く"), "東京 京タ タワー|タワ ワー ーへ へ|へ行 行く");
}

#[test]
fn korean_words_keep_their_particles_and_give_pairs() {
    assert_eq!(terms("학교에서 물"), "학교에서|학교 교에 에서 물");
    assert_eq!(terms("학교"), "학교");
}

#[test]
fn other_scripts_are_stemmed_by_their_own_rules_or_kept() {
    assert_eq!(terms("книгами"), "книг|книгами");
    assert_eq!(terms("हिन्दी में"), "हिन्दी में");
    assert_eq!(terms("ภาษาไทยง่าย"), "ภาษา ไทย ง่าย");
}

#[test]
fn a_very_long_run_takes_time_by_its_length_alone() {
    let mut tokens = 0u32;
    Analyser::new().each(&"a1_".repeat(400_000), &mut |_| tokens += 1);
    // Each of them in one piece and its two parts.
    assert_eq!(tokens, 3 * 400_000);
}

#[test]
fn long_and_odd_texts_are_taken_as_they_come() {
    assert_eq!(terms(&"x".repeat(1000)), "");
    assert_eq!(terms("\u{0} \u{feff} \u{1f436} -- ..."), "");
    assert_eq!(terms(&"a-".repeat(100)).split(' ').count(), 100);
}

proptest! {
    #[test]
    fn spans_lie_in_the_text_and_positions_rise(text in "(\\PC|[a-zA-Z0-9'., _-]|[一-龥ぁ-ん가-힣]){0,60}") {
        let mut last = 0;
        let mut seen: Vec<(u32, String)> = Vec::new();
        Analyser::new().each(&text, &mut |token| {
            assert!(token.span.slice(&text).is_some_and(|covered| !covered.is_empty()));
            assert!(!token.text.is_empty() && token.text.len() <= LONGEST_TERM);
            assert!(token.position >= last, "{text}");
            last = token.position;
            seen.push((token.position, token.text.to_owned()));
        });
        let all = seen.len();
        seen.sort();
        seen.dedup();
        prop_assert_eq!(seen.len(), all, "no term twice at one position");
    }

    #[test]
    fn links_leave_no_gap(text in "[a-zA-Z0-9'.,_ -]{0,40}") {
        let mut positions = Vec::new();
        Analyser::new().each(&text, &mut |token| if token.links { positions.push(token.position) });
        prop_assert!(positions.iter().enumerate().all(|(at, position)| *position == at as u32), "{:?}", positions);
    }
}
