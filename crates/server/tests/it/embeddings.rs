//! `POST /v1/embeddings`.

use anser_core::EmbedPurpose;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::fake::{DIMENSION, SHORTER_DIMENSIONS};
use crate::support::{CHAT, EMBEDDER, Service};

fn request(input: &Value) -> Value {
    json!({"model": EMBEDDER, "input": input})
}

fn floats(item: &Value) -> Vec<f32> {
    item["embedding"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

#[tokio::test]
async fn texts_become_vectors_in_order() {
    let service = Service::new();
    let reply = service.post("/v1/embeddings", &request(&json!(["good dog food", "bad coffee"]))).await;
    assert_eq!(reply.status, 200);
    let reply = reply.json();
    assert_eq!((&reply["object"], &reply["model"]), (&json!("list"), &json!(EMBEDDER)));
    assert_eq!(reply["usage"], json!({"prompt_tokens": 5, "total_tokens": 5}));
    let data = reply["data"].as_array().unwrap();
    assert_eq!(data.len(), 2);
    for (at, item) in data.iter().enumerate() {
        assert_eq!((&item["object"], &item["index"]), (&json!("embedding"), &json!(at)));
        assert_eq!(floats(item).len(), DIMENSION);
        assert!(item.get("truncated").is_none());
    }
    assert_ne!(data[0]["embedding"], data[1]["embedding"]);
    let alone = service.post("/v1/embeddings", &request(&json!("bad coffee"))).await.json();
    assert_eq!(alone["data"][0]["embedding"], data[1]["embedding"]);
}

#[tokio::test]
async fn base64_holds_the_same_numbers() {
    let service = Service::new();
    let plain = service.post("/v1/embeddings", &request(&json!("good dog food"))).await.json();
    let mut body = request(&json!("good dog food"));
    body["encoding_format"] = json!("base64");
    let packed = service.post("/v1/embeddings", &body).await.json();
    let bytes = STANDARD.decode(packed["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let unpacked: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    assert_eq!(unpacked, floats(&plain["data"][0]));
}

#[tokio::test]
async fn a_cut_text_is_marked() {
    let service = Service::new();
    let reply = service.post("/v1/embeddings", &request(&json!(["word ".repeat(65), "short"]))).await.json();
    assert_eq!(reply["data"][0]["truncated"], true);
    assert!(reply["data"][1].get("truncated").is_none());
}

#[tokio::test]
async fn texts_are_passages_unless_called_queries() {
    let service = Service::new();
    for (input_type, purpose) in [
        (json!(null), EmbedPurpose::Passage),
        (json!("passage"), EmbedPurpose::Passage),
        (json!("query"), EmbedPurpose::Query),
    ] {
        let mut body = request(&json!("text"));
        body["input_type"] = input_type;
        assert_eq!(service.post("/v1/embeddings", &body).await.status, 200);
        assert_eq!(service.fake.purposes().last(), Some(&purpose));
    }
}

#[tokio::test]
async fn inputs_that_cannot_be_embedded_are_refused() {
    let service = Service::new();
    for (input, param) in [
        (json!(""), "input"),
        (json!([]), "input"),
        (json!(["a", ""]), "input[1]"),
        (json!([1, 2, 3]), "input"),
        (json!([[1, 2], [3]]), "input"),
        (json!(["a", null]), "input[1]"),
        (json!({"text": "a"}), "input"),
        (json!(vec!["a"; 2049]), "input"),
    ] {
        assert_eq!(service.post("/v1/embeddings", &request(&input)).await.bad_param(), param);
    }
    assert_eq!(service.post("/v1/embeddings", &request(&json!(vec!["a"; 2048]))).await.status, 200);
    let tokens = service.post("/v1/embeddings", &request(&json!([1, 2]))).await;
    assert!(tokens.failure(400).2.contains("token ids"));
}

#[tokio::test]
async fn parameters_are_checked_and_unknown_ones_tolerated() {
    let service = Service::new();
    for (name, value) in [("dimensions", json!(8)), ("encoding_format", json!("int8")), ("input_type", json!("poem"))] {
        let mut body = request(&json!("text"));
        body[name] = value;
        assert_eq!(service.post("/v1/embeddings", &body).await.bad_param(), name);
    }
    let mut body = request(&json!("text"));
    body["dimensions"] = json!(DIMENSION);
    body["user"] = json!("ann");
    body["something_new"] = json!(1);
    assert_eq!(service.post("/v1/embeddings", &body).await.status, 200);
    assert_eq!(service.post("/v1/embeddings", &json!({"model": EMBEDDER})).await.bad_param(), "input");
    assert_eq!(service.post("/v1/embeddings", &json!({"input": "a"})).await.bad_param(), "model");
}

#[tokio::test]
async fn vectors_are_cut_to_lengths_that_the_model_was_trained_for_only() {
    let service = Service::new();
    let with = async |dimensions: usize| {
        let body = json!({"model": EMBEDDER, "input": "a text of a few words", "dimensions": dimensions});
        service.post("/v1/embeddings", &body).await
    };
    let whole = floats(&with(DIMENSION).await.json()["data"][0]);
    assert_eq!(whole.len(), DIMENSION);
    for dimension in SHORTER_DIMENSIONS {
        let cut = floats(&with(dimension).await.json()["data"][0]);
        let norm = whole[..dimension].iter().map(|value| value * value).sum::<f32>().sqrt();
        assert_eq!(cut.len(), dimension);
        assert!(cut.iter().zip(&whole).all(|(cut, whole)| (cut - whole / norm).abs() < 1e-6), "{cut:?} {whole:?}");
    }
    for dimension in [0, 8, DIMENSION + 1] {
        let (param, _, message) = with(dimension).await.failure(400);
        assert_eq!(param.as_deref(), Some("dimensions"));
        assert!(message.contains("may be cut to 12, 16"), "{message}");
    }
}

#[tokio::test]
async fn only_the_embedder_embeds() {
    let service = Service::new();
    for model in [CHAT, "text-embedding-3-small"] {
        let reply = service.post("/v1/embeddings", &json!({"model": model, "input": "a"})).await;
        let (param, code, message) = reply.failure(404);
        assert_eq!((param.as_deref(), code.as_str()), (Some("model"), "model_not_found"));
        assert!(message.contains(EMBEDDER), "{message}");
    }
}

#[tokio::test]
async fn a_full_queue_asks_to_come_back() {
    let service = Service::new();
    let reply = service.post("/v1/embeddings", &request(&json!("BUSY"))).await;
    assert_eq!(reply.failure(429).1, "overloaded");
    assert_eq!(reply.header("retry-after"), Some("1"));
}
