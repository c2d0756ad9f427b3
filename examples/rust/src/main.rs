//! Uses a running Anser server through the `async-openai` crate: only the base URL is changed.
//!
//! Run `anser demo` in one terminal and `cargo run -p anser-example-client` in another; `ANSER_URL` names another server.

use std::error::Error;

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::types::chat::{ChatCompletionRequestUserMessageArgs, CreateChatCompletionRequestArgs};
use async_openai::types::embeddings::CreateEmbeddingRequestArgs;
use tokio_stream::StreamExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("ANSER_URL").unwrap_or_else(|_| "http://127.0.0.1:8080".to_owned());
    let key = std::env::var("ANSER_API_KEY").unwrap_or_else(|_| "unused".to_owned());
    let client = Client::with_config(OpenAIConfig::new().with_api_base(format!("{url}/v1")).with_api_key(key));

    let models: Vec<String> = client.models().list().await?.data.into_iter().map(|m| m.id).collect();
    println!("models: {}", models.join(", "));
    let named = |part: &str| models.iter().find(|m| m.contains(part)).ok_or(format!("no {part} model is served"));

    let request = CreateEmbeddingRequestArgs::default()
        .model(named("bge")?)
        .input(["free delivery", "no shipping costs", "the kettle leaks"])
        .build()?;
    let vectors = client.embeddings().create(request).await?.data;
    let cosine = |a: usize, b: usize| -> f32 {
        vectors[a].embedding.iter().zip(&vectors[b].embedding).map(|(x, y)| x * y).sum()
    };
    println!("embeddings: related {:.2}, unrelated {:.2}", cosine(0, 1), cosine(0, 2));
    if cosine(0, 1) <= cosine(0, 2) {
        return Err("related phrases must be closer".into());
    }

    let question = ChatCompletionRequestUserMessageArgs::default()
        .content("What is the capital of France? Answer in one short sentence.")
        .build()?;
    let mut request = CreateChatCompletionRequestArgs::default();
    request.model(named("Instruct")?).messages([question.into()]).temperature(0.0).max_completion_tokens(40_u32);
    let whole = client.chat().create(request.build()?).await?;
    let whole = whole.choices.first().and_then(|c| c.message.content.clone()).unwrap_or_default();
    println!("chat: {whole}");

    let mut stream = client.chat().create_stream(request.build()?).await?;
    let mut streamed = String::new();
    while let Some(chunk) = stream.next().await {
        for choice in chunk?.choices {
            streamed.push_str(choice.delta.content.as_deref().unwrap_or_default());
        }
    }
    if streamed != whole {
        return Err(format!("streamed {streamed:?}, whole {whole:?}").into());
    }
    println!("ok");
    Ok(())
}
