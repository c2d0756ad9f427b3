//! The strict reader: JSON lines as the wire has them, every fault with its line and field.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use anser_core::{LineProblem, TrainingFileCheck};

use super::example::{MINIMUM_EXAMPLES, TrainingExample, TrainingFormat};
use super::fields::{Fault, format_of, read_example};
use super::json::Json;
use super::lines::{Line, Lines};
use crate::TuneError;

/// Longest line that is read, in bytes.
pub(super) const MAX_LINE_BYTES: usize = 16 << 20;

/// Problems that a check lists; the rest is counted.
const MAX_PROBLEMS: usize = 100;

/// Examples with the lines they stand on.
pub type LocatedExamples = Vec<(u64, TrainingExample)>;

/// Reads a training file: JSON lines of one [`TrainingFormat`], at least [`MINIMUM_EXAMPLES`] of them.
///
/// Examples without fault are returned even when other lines have some; a caller that wants all or nothing looks at
/// `problem_count`. Lines of white space are skipped, and a UTF-8 byte-order mark is allowed. A problem of the file as a
/// whole has line 0.
///
/// # Errors
///
/// Only when the operating system refuses the file.
pub fn read_training_file(path: &Path) -> Result<(LocatedExamples, TrainingFileCheck), TuneError> {
    collect(path, MINIMUM_EXAMPLES)
}

/// Reads a validation file: as [`read_training_file`], but one example is enough.
///
/// # Errors
///
/// Only when the operating system refuses the file.
pub fn read_validation_file(path: &Path) -> Result<(LocatedExamples, TrainingFileCheck), TuneError> {
    collect(path, 1)
}

/// Checks a training or validation file line by line without keeping its examples; fewer than `minimum` of them are a
/// problem.
///
/// # Errors
///
/// Only when the operating system refuses the file.
pub fn check_training_file(path: &Path, minimum: usize) -> Result<TrainingFileCheck, TuneError> {
    read_lines(open(path)?, minimum, &mut |_, _| {}).map_err(|source| cannot_read(path, source))
}

fn collect(path: &Path, minimum: usize) -> Result<(LocatedExamples, TrainingFileCheck), TuneError> {
    let mut examples = Vec::new();
    let check = read_lines(open(path)?, minimum, &mut |line, example| examples.push((line, example)))
        .map_err(|source| cannot_read(path, source))?;
    Ok((examples, check))
}

fn open(path: &Path) -> Result<BufReader<File>, TuneError> {
    let file = File::open(path).map_err(|source| cannot_read(path, source))?;
    Ok(BufReader::with_capacity(1 << 16, file))
}

fn cannot_read(path: &Path, source: io::Error) -> TuneError {
    TuneError::io("read the training file", path, source)
}

/// Reads a stream line by line and hands on every example without fault.
fn read_lines(
    mut reader: impl io::BufRead,
    minimum: usize,
    keep: &mut dyn FnMut(u64, TrainingExample),
) -> io::Result<TrainingFileCheck> {
    let mut prefix = Vec::with_capacity(4);
    reader.by_ref().take(4).read_to_end(&mut prefix)?;
    let mut reading = Reading::default();
    if let Some(reason) = not_json_lines(&prefix) {
        reading.problem(1, None, reason.to_owned());
        return Ok(reading.check(minimum, true));
    }
    if prefix.starts_with(b"\xEF\xBB\xBF") {
        prefix.drain(..3);
    }
    let mut lines = Lines::new(io::Cursor::new(prefix).chain(reader), MAX_LINE_BYTES);
    while let Some(line) = lines.next_line()? {
        if let Some(example) = reading.line(&line) {
            keep(line.number, example);
        }
    }
    Ok(reading.check(minimum, false))
}

/// Why a file that begins with `prefix` cannot be JSON lines in UTF-8, if that can be told.
fn not_json_lines(prefix: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 7] = [
        (b"\xFF\xFE", "the file is encoded as UTF-16; save it as UTF-8"),
        (b"\xFE\xFF", "the file is encoded as UTF-16; save it as UTF-8"),
        (b"\x00\x00\xFE\xFF", "the file is encoded as UTF-32; save it as UTF-8"),
        (b"PK\x03\x04", "the file is a ZIP archive or an office document; convert it to JSON lines"),
        (b"\x1F\x8B", "the file is compressed with gzip; unpack it"),
        (b"\x28\xB5\x2F\xFD", "the file is compressed with zstd; unpack it"),
        (b"PAR1", "the file is a Parquet file; convert it to JSON lines"),
    ];
    known.iter().find(|(magic, _)| prefix.starts_with(magic)).map(|(_, reason)| *reason)
}

/// The state of reading one file.
#[derive(Default)]
struct Reading {
    /// The file's format and the line that showed it.
    format: Option<(TrainingFormat, u64)>,
    examples: usize,
    problems: Vec<LineProblem>,
    problem_count: usize,
}

impl Reading {
    fn problem(&mut self, line: u64, field: Option<String>, message: String) {
        self.problem_count += 1;
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(LineProblem { line, field, message });
        }
    }

    fn line(&mut self, line: &Line) -> Option<TrainingExample> {
        let number = line.number;
        let bytes = match &line.content {
            Ok(bytes) => bytes,
            Err(length) => {
                let limit = MAX_LINE_BYTES >> 20;
                let message = format!("the line has {length} bytes, more than {limit} MiB; write one example a line");
                self.problem(number, None, message);
                return None;
            }
        };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return None;
        }
        let json = match parse(bytes) {
            Ok(json) => json,
            Err(message) => {
                self.problem(number, None, message);
                return None;
            }
        };
        self.note_format(&json, number)?;
        match read_example(&json) {
            Ok(example) => {
                self.examples += 1;
                Some(example)
            }
            Err(faults) => {
                for Fault { field, message } in faults {
                    self.problem(number, field, message);
                }
                None
            }
        }
    }

    /// The first line that has a format sets the file's; `None` when this line has another one.
    fn note_format(&mut self, json: &Json, number: u64) -> Option<()> {
        let Json::Object(entries) = json else { return Some(()) };
        let Ok(format) = format_of(entries) else { return Some(()) };
        let (file, first) = *self.format.get_or_insert((format, number));
        if file == format {
            return Some(());
        }
        let message = format!(
            "the line has the format {}, but the file began with {} on line {first}; keep one format in a file",
            format.as_str(),
            file.as_str()
        );
        self.problem(number, None, message);
        None
    }

    fn check(mut self, minimum: usize, unread: bool) -> TrainingFileCheck {
        if self.examples < minimum && !unread {
            let message = match self.examples {
                0 if self.problem_count == 0 => {
                    format!("the file holds no example; write at least {minimum}, one a line")
                }
                found => format!(
                    "the file holds {} that can be used, but at least {minimum} are needed; add more",
                    if found == 1 { "1 example".to_owned() } else { format!("{found} examples") }
                ),
            };
            self.problem_count += 1;
            self.problems.truncate(MAX_PROBLEMS - 1);
            self.problems.push(LineProblem { line: 0, field: None, message });
        }
        TrainingFileCheck {
            format: self.format.map(|(format, _)| format.as_str().to_owned()),
            examples: self.examples,
            problems: self.problems,
            problem_count: self.problem_count,
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Json, String> {
    if bytes.contains(&0) {
        return Err("the line holds NUL bytes; the file is binary or UTF-16; save it as JSON lines in UTF-8".to_owned());
    }
    if let Err(error) = std::str::from_utf8(bytes) {
        let at = error.valid_up_to() + 1;
        return Err(format!("byte {at} of the line is not UTF-8; save the file as UTF-8"));
    }
    Json::parse(bytes).map_err(|reason| {
        let first = bytes.iter().find(|b| !b.is_ascii_whitespace());
        let hint = match first {
            Some(b'[' | b']' | b'"' | b'}') => "; a file of JSON lines has one whole object on each line",
            Some(b'{') if reason.contains("EOF") => "; write the whole object on one line",
            _ => "; correct the JSON",
        };
        format!("the line is not JSON: {reason}{hint}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &[u8]) -> (LocatedExamples, TrainingFileCheck) {
        let mut examples = Vec::new();
        let check = read_lines(text, MINIMUM_EXAMPLES, &mut |line, example| examples.push((line, example))).unwrap();
        (examples, check)
    }

    const GOOD: &str =
        r#"{"messages":[{"role":"user","content":"When do you open?"},{"role":"assistant","content":"At nine."}]}"#;

    /// Ten good lines with `line` as the third.
    fn among_good(line: &[u8]) -> (LocatedExamples, TrainingFileCheck) {
        let mut text = Vec::new();
        for number in 1..=11 {
            text.extend_from_slice(if number == 3 { line } else { GOOD.as_bytes() });
            text.push(b'\n');
        }
        check(&text)
    }

    fn only_problem(line: &str) -> LineProblem {
        let (examples, check) = among_good(line.as_bytes());
        assert_eq!((check.problem_count, examples.len()), (1, 10), "{line}: {:?}", check.problems);
        assert_eq!(check.problems[0].line, 3, "{line}");
        check.problems[0].clone()
    }

    #[test]
    fn good_files_of_each_format_are_read_whole() {
        let prompt = r#"{"prompt":"2 + 2 ->","completion":" 4"}"#;
        let preference = r#"{"input":{"messages":[{"role":"user","content":"Hi"}]},"preferred_output":[{"role":"assistant","content":"Good day!"}],"non_preferred_output":[{"role":"assistant","content":"What?"}]}"#;
        for (line, format) in [(GOOD, "chat"), (prompt, "prompt_completion"), (preference, "preference")] {
            let text = format!("\u{feff}{line}\r\n\n{}", format!("{line}\n").repeat(9));
            let (examples, check) = check(text.as_bytes());
            assert_eq!(
                (check.format.as_deref(), check.examples, check.problem_count),
                (Some(format), 10, 0),
                "{check:?}"
            );
            assert_eq!((examples[0].0, examples[1].0), (1, 3));
            for (_, example) in &examples {
                assert_eq!(
                    Json::parse(example.to_json_line().as_bytes()).unwrap(),
                    Json::parse(line.as_bytes()).unwrap()
                );
            }
        }
    }

    #[test]
    fn weights_choose_the_turns_that_are_learned_and_developer_means_system() {
        let line = r#"{"messages":[{"role":"developer","content":"Be brief."},{"role":"user","content":"Hi"},{"role":"assistant","content":"Yo","weight":0},{"role":"user","content":"Hi","name":"Eve"},{"role":"assistant","content":[{"type":"text","text":"Hel"},{"type":"text","text":"lo"}],"weight":1}],"tools":[]}"#;
        let (examples, check) = among_good(line.as_bytes());
        assert_eq!(check.problem_count, 0, "{:?}", check.problems);
        let TrainingExample::Chat { turns } = &examples[2].1 else { panic!("a chat") };
        assert_eq!(turns.iter().map(|(_, learned)| *learned).collect::<Vec<_>>(), [false, false, false, false, true]);
        assert_eq!(turns[4].0.content, "Hello");
        assert_eq!(turns[0].0.role, anser_core::Role::System);
        let again = read_example(&Json::parse(examples[2].1.to_json_line().as_bytes()).unwrap()).unwrap();
        assert_eq!(&again, &examples[2].1);
    }

    #[test]
    fn each_fault_is_told_with_its_field() {
        let user = r#"{"role":"user","content":"Hi"}"#;
        let bot = r#"{"role":"assistant","content":"Yo"}"#;
        let chat = |messages: &str| format!(r#"{{"messages":[{messages}]}}"#);
        let cases = [
            (chat(&format!("{user},{{\"role\":\"assistant\",\"content\":5}}")), "messages[1].content"),
            (chat(&format!("{user},{{\"role\":\"bot\",\"content\":\"a\"}}")), "messages[1].role"),
            (chat(&format!("{bot},{user}")), "messages[1].role"),
            (chat(&format!("{user},{{\"role\":\"assistant\",\"content\":\" \"}}")), "messages[1].content"),
            (chat(&format!("{user},{{\"role\":\"assistant\",\"content\":\"a\",\"weight\":2}}")), "messages[1].weight"),
            (
                chat(&format!("{user},{{\"role\":\"assistant\",\"content\":\"a\",\"weight\":true}}")),
                "messages[1].weight",
            ),
            (chat(&format!("{user},{{\"role\":\"assistant\",\"content\":\"a\",\"weight\":0}}")), "messages"),
            (
                chat(&format!("{user},{{\"role\":\"assistant\",\"role\":\"assistant\",\"content\":\"a\"}}")),
                "messages[1].role",
            ),
            (chat(&format!("{user},{{\"role\":\"tool\",\"content\":\"a\"}},{bot}")), "messages[1].role"),
            (chat(&format!("{user},{{\"role\":\"assistant\",\"content\":\"a\\u0000\"}}")), "messages[1].content"),
            (chat(&format!("{{\"role\":\"user\",\"content\":\"a\",\"weight\":1}},{bot}")), "messages[0].weight"),
            (
                chat(&format!("{{\"role\":\"user\",\"content\":[{{\"type\":\"image_url\"}}]}},{bot}")),
                "messages[0].content[0].type",
            ),
            (chat(&format!("{{\"role\":\"user\",\"content\":\"a\",\"wieght\":1}},{bot}")), "messages[0].wieght"),
            (chat(""), "messages"),
            (r#"{"messages":"Hi"}"#.to_owned(), "messages"),
            (format!(r#"{{"messages":[{user},{bot}],"tools":[{{"type":"function"}}]}}"#), "tools"),
            (chat(&format!("{user},7")), "messages[1]"),
        ];
        for (line, field) in cases {
            let problem = only_problem(&line);
            assert_eq!(problem.field.as_deref(), Some(field), "{line}: {problem:?}");
        }
    }

    #[test]
    fn faults_of_the_line_itself_say_what_it_is() {
        let deep = format!("{}1{}", "[".repeat(300), "]".repeat(300));
        let cases = [
            ("[1]", "an array"),
            ("\"text\"", "a string"),
            ("{\"messages\": [", "one line"),
            ("{\"messages\":[],\"prompt\":\"a\"}", "mixes"),
            ("{\"text\":\"a\"}", "neither"),
            ("{\"prompt\":\"a\",\"completion\":\"b\"}", "began with chat on line 1"),
            ("{\u{201c}messages\u{201d}:[]}", "not JSON"),
            ("{\"messages\":[]\0}", "NUL"),
            (&deep, "recursion"),
        ];
        for (line, words) in cases {
            let problem = only_problem(line);
            assert!(problem.message.contains(words), "{line}: {}", problem.message);
        }
        let (_, bad) = among_good(b"{\"messages\": \"\xff\"}");
        assert!(bad.problems[0].message.contains("byte 15"), "{:?}", bad.problems);
        let (_, long) = among_good(&vec![b'x'; MAX_LINE_BYTES + 1]);
        assert!(long.problems[0].message.contains("16 MiB"), "{:?}", long.problems);
    }

    #[test]
    fn too_few_examples_are_a_problem_of_the_file() {
        let (_, few) = check(GOOD.as_bytes());
        assert_eq!((few.problems.len(), few.problems[0].line), (1, 0));
        assert!(few.problems[0].message.contains("1 example "), "{:?}", few.problems);
        let (_, none) = check(b"\n \n");
        assert!(none.problems[0].message.contains("no example"), "{:?}", none.problems);
        let one = read_lines(GOOD.as_bytes(), 1, &mut |_, _| {}).unwrap();
        assert_eq!(one.problem_count, 0);
    }

    #[test]
    fn problems_are_counted_beyond_those_listed() {
        let (examples, check) = check("nonsense\n".repeat(500).as_bytes());
        assert!(examples.is_empty());
        assert_eq!((check.problems.len(), check.problem_count), (100, 501));
        assert_eq!(check.problems[99].line, 0);
    }

    #[test]
    fn a_file_in_another_encoding_or_format_gives_one_problem() {
        for text in [&b"\xff\xfe{\0"[..], b"PK\x03\x04rest", b"\x1f\x8b\x08", b"PAR1...."] {
            let (_, check) = check(text);
            assert_eq!((check.problem_count, check.problems[0].line), (1, 1), "{check:?}");
        }
    }
}
