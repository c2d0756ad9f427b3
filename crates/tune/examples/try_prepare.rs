use anser_core::*;
use anser_tune::data::*;
use std::io::{Read, Write};
struct Http(EmbedderInfo);
impl Embedder for Http {
    fn info(&self) -> &EmbedderInfo {
        &self.0
    }
    fn embed(&self, texts: &[String], _: EmbedPurpose, _: &CancelToken) -> anser_core::Result<Vec<Embedded>> {
        let body = serde_json::json!({"model": "bge-small-en-v1.5", "input": texts}).to_string();
        let mut s = std::net::TcpStream::connect("127.0.0.1:18099").unwrap();
        write!(s, "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{}", body.len(), body).unwrap();
        let mut out = String::new();
        s.read_to_string(&mut out).unwrap();
        let json = &out[out.find("{").unwrap()..=out.rfind("}").unwrap()];
        let v: serde_json::Value =
            serde_json::from_str(json).unwrap_or_else(|e| panic!("{e} {}", &out[..500.min(out.len())]));
        Ok(v["data"]
            .as_array()
            .unwrap_or_else(|| panic!("{v}"))
            .iter()
            .map(|d| Embedded {
                embedding: Embedding::normalize(
                    d["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect(),
                )
                .unwrap(),
                tokens: 1,
                truncated: false,
            })
            .collect())
    }
    fn count_tokens(&self, _: &str) -> anser_core::Result<usize> {
        Ok(1)
    }
}
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let mut o = PrepareOptions::default();
    let mut codec = None;
    for a in &args[2..] {
        if let Some(x) = a.strip_prefix("q=") {
            o.columns.question = Some(x.into());
        }
        if let Some(x) = a.strip_prefix("a=") {
            o.columns.answer = Some(x.into());
        }
        if a == "original" {
            o.shape = OutputShape::Original;
        }
        if let Some(x) = a.strip_prefix("model=") {
            codec = Some(anser_generate::BaseModel::open(x.as_ref()).unwrap().codec());
        }
    }
    let http = Http(EmbedderInfo { model: String::new(), dimension: 384, max_tokens: 512, fingerprint: String::new() });
    let c = CancelToken::new();
    let tools = PrepareTools {
        embedder: args.iter().any(|a| a == "emb").then_some(&http as &dyn Embedder),
        tokens: codec.as_deref().map(|c| c as &dyn TokenCounter),
        offensive: None,
        progress: &NoProgress,
        cancel: &c,
    };
    let t = std::time::Instant::now();
    match prepare(args[1].as_ref(), &o, &tools, &mut |m| {
        println!("? {} [{}] {:?}\n   {}", m.action, m.finding.id, m.sample, m.finding.explanation);
        true
    }) {
        Ok(p) => {
            println!("{}", p.report);
            for e in p.training.iter().take(2) {
                println!("{}", e.to_json_line());
            }
        }
        Err(e) => println!("ERROR {e}"),
    }
    println!("{:?}", t.elapsed());
}
