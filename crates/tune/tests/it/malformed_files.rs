//! Hundreds of training files that must be refused, each with the line that is at fault. Needs nothing but the standard
//! library, so that tests of other crates can include this file by its path.

/// A training file with one fault.
#[derive(Debug, Clone)]
pub(crate) struct MalformedFile {
    /// What is wrong with it, unique among all.
    pub(crate) name: String,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// A line that a problem must be reported for, from 1; 0 for the file as a whole.
    pub(crate) line: u64,
}

/// Lines of a good file.
const LINES: usize = 12;

fn chat(number: usize) -> String {
    format!(
        r#"{{"messages":[{{"role":"user","content":"Question {number}?"}},{{"role":"assistant","content":"Answer {number}."}}]}}"#
    )
}

fn legacy(number: usize) -> String {
    format!(r#"{{"prompt":"Question {number} ->","completion":" Answer {number}."}}"#)
}

fn preference(number: usize) -> String {
    format!(
        r#"{{"input":{{"messages":[{{"role":"user","content":"Question {number}?"}}]}},"preferred_output":[{{"role":"assistant","content":"Yes {number}."}}],"non_preferred_output":[{{"role":"assistant","content":"No {number}."}}]}}"#
    )
}

/// A good file of `lines` lines.
fn good(line: fn(usize) -> String, lines: usize) -> Vec<u8> {
    (1..=lines).flat_map(|number| (line(number) + "\n").into_bytes()).collect()
}

/// A good file in which line `at` is replaced.
fn with_line(line: fn(usize) -> String, at: usize, bad: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 1..=LINES {
        if number == at {
            bytes.extend_from_slice(bad);
        } else {
            bytes.extend_from_slice(line(number).as_bytes());
        }
        bytes.push(b'\n');
    }
    bytes
}

/// Chats whose second message is the assistant's.
fn bad_chats() -> Vec<String> {
    let user = r#"{"role":"user","content":"Hi"}"#;
    let bot = r#"{"role":"assistant","content":"Yo"}"#;
    let mut bad = Vec::new();
    for value in [
        "5",
        "0",
        "null",
        "true",
        "false",
        "{}",
        "[]",
        "[1]",
        "[null]",
        "[\"a\"]",
        "\"\"",
        "\"  \"",
        "\"\\n\"",
        "\"\\u0000\"",
        "1e3",
    ] {
        bad.push(format!(r#"{{"messages":[{user},{{"role":"assistant","content":{value}}}]}}"#));
        bad.push(format!(r#"{{"messages":[{{"role":"user","content":{value}}},{bot}]}}"#));
    }
    for part in [
        r#"{"type":"image_url"}"#,
        r#"{"type":"text"}"#,
        r#"{"text":"a"}"#,
        r#"{"type":"text","text":1}"#,
        r#"{"type":1,"text":"a"}"#,
    ] {
        bad.push(format!(r#"{{"messages":[{{"role":"user","content":[{part}]}},{bot}]}}"#));
    }
    for role in
        ["\"bot\"", "\"\"", "\"User\"", "\"tool\"", "\"function\"", "\"ASSISTANT\"", "1", "null", "[]", "{}", "true"]
    {
        bad.push(format!(r#"{{"messages":[{{"role":{role},"content":"a"}},{bot}]}}"#));
        bad.push(format!(r#"{{"messages":[{user},{{"role":{role},"content":"a"}}]}}"#));
    }
    for weight in ["2", "-1", "0.5", "\"1\"", "true", "[]", "{}", "1e9"] {
        bad.push(format!(r#"{{"messages":[{user},{{"role":"assistant","content":"a","weight":{weight}}}]}}"#));
    }
    for name in ["1", "[]", "{}", "true"] {
        bad.push(format!(r#"{{"messages":[{{"role":"user","content":"a","name":{name}}},{bot}]}}"#));
    }
    for messages in ["[]", "{}", "null", "1", "\"Hi\"", "true", "[1]", "[null]", "[[]]", "[{}]", "[\"Hi\"]"] {
        bad.push(format!(r#"{{"messages":{messages}}}"#));
    }
    bad.extend([
        format!(r#"{{"messages":[{user}]}}"#),
        format!(r#"{{"messages":[{bot},{user}]}}"#),
        r#"{"messages":[{"role":"system","content":"Be brief."}]}"#.to_owned(),
        format!(r#"{{"messages":[{user},{{"role":"assistant","content":"a","weight":0}}]}}"#),
        format!(r#"{{"messages":[{user},{{"role":"assistant"}}]}}"#),
        format!(r#"{{"messages":[{user},{{"content":"a"}}]}}"#),
        format!(r#"{{"messages":[{user},{{"role":"assistant","content":"a","content":"b"}}]}}"#),
        format!(r#"{{"messages":[{user},{{"role":"assistant","content":"a","wieght":1}}]}}"#),
        format!(r#"{{"messages":[{user},{{"role":"assistant","content":"a","tool_calls":[{{}}]}}]}}"#),
        format!(r#"{{"messages":[{user},{{"role":"assistant","content":"a","function_call":{{}}}}]}}"#),
        format!(r#"{{"messages":[{{"role":"user","content":"a","weight":1}},{bot}]}}"#),
        format!(r#"{{"messages":[{user},{bot}],"messages":[{user},{bot}]}}"#),
        format!(r#"{{"messages":[{user},{bot}],"tools":[{{"type":"function"}}]}}"#),
        format!(r#"{{"messages":[{user},{bot}],"extra":1}}"#),
        format!(r#"{{"messages":[{user},{bot}],"prompt":"a","completion":"b"}}"#),
        format!(r#"{{"messages":[{user},{bot}]}} {{"messages":[{user},{bot}]}}"#),
        format!(r#"[{{"messages":[{user},{bot}]}}]"#),
        format!(r#"{{"Messages":[{user},{bot}]}}"#),
        format!("{{'messages':[{user},{bot}]}}"),
        format!("{{\u{201c}messages\u{201d}:[{user},{bot}]}}"),
        format!(r#"{{"messages":[{user},{bot}],}}"#),
        format!(r#"{{"messages":[{user} {bot}]}}"#),
        legacy(1),
        preference(1),
    ]);
    bad
}

fn bad_legacy() -> Vec<String> {
    let mut bad = Vec::new();
    for value in ["1", "null", "true", "[]", "{}", "[\"a\"]", "\"\\u0000\""] {
        bad.push(format!(r#"{{"prompt":{value},"completion":" b"}}"#));
        bad.push(format!(r#"{{"prompt":"a","completion":{value}}}"#));
    }
    bad.extend(
        [
            r#"{"prompt":"a"}"#,
            r#"{"completion":"b"}"#,
            r#"{"prompt":"a","completion":""}"#,
            r#"{"prompt":"a","completion":" \n "}"#,
            r#"{"prompt":"a","completion":"b","label":"c"}"#,
            r#"{"prompt":"a","prompt":"a","completion":"b"}"#,
            r#"{"prompt":"a","completion":"b","completion":"c"}"#,
            r#"{"prompt":"a","completion":"b","preferred_output":[]}"#,
            r#"{"Prompt":"a","Completion":"b"}"#,
            r#"{"prompt":"a","completion":"\ud800"}"#,
            r#"{"prompt":"a","completion":"\x"}"#,
            r#"{"prompt":"a	b","completion":"c"}"#,
        ]
        .map(str::to_owned),
    );
    bad.push("{\u{201c}prompt\u{201d}:\u{201c}a\u{201d},\u{201c}completion\u{201d}:\u{201c}b\u{201d}}".to_owned());
    bad.push(chat(1));
    bad
}

fn bad_preferences() -> Vec<String> {
    let input = r#"{"messages":[{"role":"user","content":"a"}]}"#;
    let yes = r#"[{"role":"assistant","content":"yes"}]"#;
    let no = r#"[{"role":"assistant","content":"no"}]"#;
    let mut bad = Vec::new();
    for value in [
        "[]",
        "{}",
        "null",
        "1",
        "\"a\"",
        r#"[{"role":"user","content":"a"}]"#,
        r#"[{"role":"assistant","content":""}]"#,
    ] {
        bad.push(format!(r#"{{"input":{input},"preferred_output":{value},"non_preferred_output":{no}}}"#));
        bad.push(format!(r#"{{"input":{input},"preferred_output":{yes},"non_preferred_output":{value}}}"#));
    }
    for value in ["[]", "{}", "null", "1", "\"a\"", r#"{"messages":[]}"#, r#"{"messages":"a"}"#] {
        bad.push(format!(r#"{{"input":{value},"preferred_output":{yes},"non_preferred_output":{no}}}"#));
    }
    bad.extend([
        format!(r#"{{"input":{{"messages":[{{"role":"assistant","content":"a"}}]}},"preferred_output":{yes},"non_preferred_output":{no}}}"#),
        format!(r#"{{"input":{input},"preferred_output":{yes},"non_preferred_output":{yes}}}"#),
        format!(r#"{{"input":{input},"preferred_output":{yes}}}"#),
        format!(r#"{{"input":{input},"non_preferred_output":{no}}}"#),
        format!(r#"{{"preferred_output":{yes},"non_preferred_output":{no}}}"#),
        format!(r#"{{"input":{input},"preferred_output":{yes},"non_preferred_output":{no},"score":1}}"#),
        format!(r#"{{"input":{input},"input":{input},"preferred_output":{yes},"non_preferred_output":{no}}}"#),
        chat(1),
    ]);
    bad
}

/// Lines that are no example in any format.
fn bad_lines() -> Vec<Vec<u8>> {
    let mut bad: Vec<Vec<u8>> = [
        "nonsense",
        "{",
        "}",
        "[",
        "]",
        "[]",
        "{}",
        "null",
        "true",
        "1",
        "\"text\"",
        "NaN",
        "{\"a\":}",
        "{a:1}",
        "<xml/>",
        "a,b,c",
        "// a comment",
        "{\"text\":\"a\"}",
        "{\"messages\":[}",
        "undefined",
        "-",
        "{\"messages\":1e999}",
        "{\"messages\"",
    ]
    .map(|line| line.as_bytes().to_vec())
    .to_vec();
    bad.extend([
        b"\xff\xfe\xfd".to_vec(),
        b"{\"prompt\":\"\xff\",\"completion\":\"b\"}".to_vec(),
        b"{\"prompt\":\"\xc3\",\"completion\":\"b\"}".to_vec(),
        b"{\"prompt\":\"\xe4\",\"completion\":\"\xf6\"}".to_vec(),
        b"\0".to_vec(),
        b"{\"prompt\":\"a\0\",\"completion\":\"b\"}".to_vec(),
        b"\x1b[31m".to_vec(),
        "[".repeat(100_000).into_bytes(),
        "{\"a\":".repeat(50_000).into_bytes(),
        [b"{\"messages\":\"".to_vec(), vec![b'a'; 300_000]].concat(),
    ]);
    bad
}

/// Files that are wrong as a whole.
fn bad_wholes() -> Vec<(String, Vec<u8>, u64)> {
    let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain(chat(1).encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let utf16_big: Vec<u8> =
        [0xfe, 0xff].into_iter().chain(chat(1).encode_utf16().flat_map(u16::to_be_bytes)).collect();
    let bare_utf16: Vec<u8> = chat(1).encode_utf16().flat_map(u16::to_le_bytes).collect();
    let array = format!("[{}]", (1..=LINES).map(chat).collect::<Vec<_>>().join(",\n"));
    let pretty = chat(1).replace("[{", "[\n  {").replace("},{", "},\n  {");
    let mut wholes = vec![
        ("empty".to_owned(), Vec::new(), 0),
        ("line breaks only".to_owned(), b"\n\r\n\n".to_vec(), 0),
        ("white space only".to_owned(), b"  \t ".to_vec(), 0),
        ("byte-order mark only".to_owned(), b"\xef\xbb\xbf".to_vec(), 0),
        ("UTF-16".to_owned(), utf16, 1),
        ("UTF-16 big-endian".to_owned(), utf16_big, 1),
        ("UTF-16 without mark".to_owned(), bare_utf16, 1),
        ("JSON array".to_owned(), array.into_bytes(), 1),
        ("object over several lines".to_owned(), pretty.into_bytes(), 1),
        ("ZIP".to_owned(), b"PK\x03\x04\x14\0\0\0".to_vec(), 1),
        ("gzip".to_owned(), b"\x1f\x8b\x08\0".to_vec(), 1),
        ("zstd".to_owned(), b"\x28\xb5\x2f\xfd\x04".to_vec(), 1),
        ("Parquet".to_owned(), b"PAR1\x15\x04".to_vec(), 1),
        ("PDF".to_owned(), b"%PDF-1.7\n1 0 obj\n".to_vec(), 1),
        ("PNG".to_owned(), b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec(), 1),
        ("CSV".to_owned(), b"prompt,completion\na,b\n".to_vec(), 1),
        ("one line of all objects".to_owned(), good(chat, LINES).into_iter().filter(|b| *b != b'\n').collect(), 1),
        (
            "lines ended by carriage returns".to_owned(),
            good(chat, LINES).iter().map(|b| if *b == b'\n' { b'\r' } else { *b }).collect(),
            1,
        ),
        ("a line of 17 MiB".to_owned(), [good(chat, LINES), vec![b'x'; 17 << 20]].concat(), LINES as u64 + 1),
        ("NUL bytes".to_owned(), vec![0; 5000], 1),
        ("every byte".to_owned(), (0..=255).collect(), 1),
    ];
    for count in 1..10 {
        wholes.push((format!("{count} chats"), good(chat, count), 0));
        wholes.push((format!("{count} prompts"), good(legacy, count), 0));
        wholes.push((format!("{count} preferences"), good(preference, count), 0));
    }
    wholes
}

/// All of them, more than 300, the same on every call.
pub(crate) fn malformed_files() -> Vec<MalformedFile> {
    let mut files: Vec<MalformedFile> =
        bad_wholes().into_iter().map(|(name, bytes, line)| MalformedFile { name, bytes, line }).collect();
    let mut add = |kind: &str, line: fn(usize) -> String, at: usize, number: usize, bad: &[u8]| {
        let bytes = with_line(line, at, bad);
        files.push(MalformedFile { name: format!("{kind} {number} on line {at}"), bytes, line: at as u64 });
    };
    // A line of another format is only at fault where the file has shown its own before, so line 1 is left alone.
    for (number, bad) in bad_chats().iter().enumerate() {
        add("chat", chat, 2 + number % (LINES - 1), number, bad.as_bytes());
    }
    for (number, bad) in bad_legacy().iter().enumerate() {
        add("prompt", legacy, 2 + number % (LINES - 1), number, bad.as_bytes());
    }
    for (number, bad) in bad_preferences().iter().enumerate() {
        add("preference", preference, 2 + number % (LINES - 1), number, bad.as_bytes());
    }
    for (number, bad) in bad_lines().iter().enumerate() {
        for at in [1, 6, LINES] {
            add("line", [chat, legacy, preference][number % 3], at, number, bad);
        }
    }
    // Every cut of an object leaves it open, so no cut is valid.
    for (kind, line) in
        [("cut chat", chat as fn(usize) -> String), ("cut prompt", legacy), ("cut preference", preference)]
    {
        let whole = line(7);
        for length in (1..whole.len()).step_by(5) {
            add(kind, line, 7, length, &whole.as_bytes()[..length]);
        }
    }
    files
}
