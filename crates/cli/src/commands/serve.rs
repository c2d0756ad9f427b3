//! `anser serve`: the HTTP API and the page.

use std::net::SocketAddr;
use std::sync::Arc;

use anser_core::storage::DataDir;
use anser_engine::Engine;
use anser_server::{ApiKey, ServerOptions};
use clap::Args;
use clap::builder::FalseyValueParser;

use crate::compose;
use crate::config::{Settings, env};
use crate::failure::Failure;
use crate::holder::Holder;
use crate::terminal::Terminal;

/// Arguments of `anser serve`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser serve\n  anser serve --listen 127.0.0.1:9000\n  ANSER_API_KEYS=secret1,secret2 anser serve --listen 0.0.0.0:8080\n\nIt also runs the jobs that `anser tune create --detach` and its clients leave.\nAn OpenAI client works against it with base_url=\"http://127.0.0.1:8080/v1\".\nANSER_API_KEYS holds the keys that clients must send as \"Authorization: Bearer KEY\", separated by commas."
)]
pub(crate) struct ServeArgs {
    /// Address to listen on; anything but loopback needs API keys [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS", env = env::LISTEN)]
    listen: Option<SocketAddr>,
    /// Withhold replies that the content filter finds harmful
    #[arg(long, env = env::FILTER_REPLIES, value_parser = FalseyValueParser::new())]
    filter_replies: bool,
    /// Analyses that run at the same time; beside them runs one training
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    analyses: u8,
}

impl ServeArgs {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let _holder = Holder::take(&DataDir::open(&settings.data_dir)?)?;
        let engine = compose::engine(settings, terminal.progress())?;
        let options = ServerOptions {
            listen: self.listen.unwrap_or(settings.listen),
            filter_replies: self.filter_replies || settings.filter_replies,
            analyses: usize::from(self.analyses),
            ..ServerOptions::default()
        };
        run_server(engine, options, terminal)
    }
}

/// Serves and runs jobs until Ctrl-C or SIGTERM, then finishes the running requests. Keys come from the environment.
pub(crate) fn run_server(engine: Arc<Engine>, options: ServerOptions, terminal: &Terminal) -> Result<(), Failure> {
    let options = ServerOptions { api_keys: api_keys()?, ..options };
    let listen = options.listen;
    options.validate()?;
    let runtime =
        tokio::runtime::Runtime::new().map_err(|e| Failure::failed(format!("cannot start the async runtime: {e}")))?;
    let served = runtime.block_on(async {
        let listener = anser_server::bind(listen).await?;
        let address = listener.local_addr()?;
        if terminal.is_json() {
            terminal.json(&serde_json::json!({"listening": format!("http://{address}")}))?;
        } else {
            terminal.line(format!(
                "serving the page on {} and the API on http://{address}/v1 (Ctrl-C stops)",
                terminal.bold(&format!("http://{address}/"))
            ))?;
        }
        Ok(anser_server::serve(listener, engine, options, shutdown()).await?)
    });
    // A model download that nobody waits for any more must not keep the process alive.
    runtime.shutdown_background();
    served
}

/// Keys come from the environment alone: on a command line every user of the machine could read them.
fn api_keys() -> Result<Vec<ApiKey>, Failure> {
    let keys = std::env::var(env::API_KEYS).unwrap_or_default();
    let keys = keys.split(',').map(str::trim).filter(|key| !key.is_empty());
    Ok(keys.map(ApiKey::from_secret).collect::<Result<_, _>>()?)
}

async fn shutdown() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending::<()>().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
    eprintln!("stopping: finishing the running requests");
}
