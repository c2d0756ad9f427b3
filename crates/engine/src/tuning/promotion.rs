//! Which chat model answers when nobody names one.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::control::{delete_setting, setting, unix_now, write_setting};
use crate::{Engine, EngineError};

/// The setting's name.
pub(super) const SETTING: &str = "default_chat_model";

/// A tuned model made the default, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Promotion {
    /// The tuned model.
    pub model: String,
    /// The model it was tuned from.
    pub base: String,
    /// When; seconds since 1970.
    pub promoted_at: i64,
    /// The evaluation that justified it.
    pub evidence: Value,
}

impl Engine {
    /// The chat model that answers when nobody names one: the promoted one, or the base model.
    pub fn default_chat_model(&self) -> Result<String, EngineError> {
        let promoted = self.promotion()?.map(|promotion| promotion.model);
        Ok(promoted.unwrap_or_else(|| self.models().base_chat_model().to_owned()))
    }

    /// What was promoted, and why; `None` while the base model is the default.
    pub fn promotion(&self) -> Result<Option<Promotion>, EngineError> {
        self.control.read(|connection| setting(connection, SETTING))
    }

    /// Makes a tuned model the default, with the evaluation that justifies it, or the base model again (`None`).
    /// `NotFound` when there is no such tuned model.
    pub fn set_default_chat_model(
        &self,
        model: Option<&str>,
        evidence: Value,
    ) -> Result<Option<Promotion>, EngineError> {
        self.control.write(|tx| {
            let Some(id) = model else {
                delete_setting(tx, SETTING)?;
                return Ok(None);
            };
            let (model, base) = super::model::id_and_base(tx, id)?;
            let promotion = Promotion { model, base, promoted_at: unix_now(), evidence };
            write_setting(tx, SETTING, &promotion)?;
            Ok(Some(promotion))
        })
    }
}
