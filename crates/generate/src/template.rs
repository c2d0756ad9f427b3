//! The chat template that a model carries: a Jinja text that turns messages into the prompt the model was trained on.

use anser_core::{ChatMessage, Role};
use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind, context};
use time::OffsetDateTime;

use crate::GenerateError;
use crate::tokenizer::ChatTokenizer;

/// Steps after which a template is given up: a file from elsewhere must not hang a request.
const FUEL: u64 = 5_000_000;
/// Nested calls after which a template is given up.
const RECURSION: usize = 64;
/// Characters that Unicode reserves for use inside a program; one that no message contains marks escaped markup.
const MARKS: std::ops::RangeInclusive<char> = '\u{FDD0}'..='\u{FDEF}';
const NAME: &str = "chat";

/// The template of a model that brings none and whose vocabulary has the tokens of `ChatML`.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + \
                      '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
/// The template of a model that brings none and has only a token that ends a text.
const PLAIN: &str = "{% for message in messages %}{{ message['role'] | capitalize + ':\n' + message['content'] }}\
                     {% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n\n' }}{% endfor %}\
                     {% if add_generation_prompt %}{{ 'Assistant:\n' }}{% endif %}";

/// A parsed chat template.
pub(crate) struct ChatTemplate {
    source: String,
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// The template for a model that brings none.
    pub(crate) fn default_source(tokenizer: &ChatTokenizer) -> &'static str {
        let has = |wanted: &str| tokenizer.control_texts().any(|text| text == wanted);
        if has("<|im_start|>") && has("<|im_end|>") { CHATML } else { PLAIN }
    }

    /// Parses `source`; the error says why it cannot be.
    pub(crate) fn new(source: &str, tokenizer: &ChatTokenizer) -> Result<Self, String> {
        Self::parse(source, tokenizer.bos_text(), tokenizer.eos_text())
            .map_err(|error| format!("its chat template does not parse: {error}"))
    }

    /// The Jinja text.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    fn parse(source: &str, bos: &str, eos: &str) -> Result<Self, Error> {
        let mut environment = Environment::new();
        // What the templates of the model hub are written for: blocks leave no blank lines, and values have Python's methods.
        let mut syntax = minijinja::syntax::SyntaxConfig::builder();
        syntax.trim_blocks(true).lstrip_blocks(true);
        environment.set_syntax(syntax.build()?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(RECURSION);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", strftime_now);
        environment.add_template_owned(NAME, source.to_owned())?;
        Ok(Self { source: source.to_owned(), environment, bos: bos.to_owned(), eos: eos.to_owned() })
    }

    /// A character that no message contains, to mark escaped markup with.
    pub(crate) fn unused_mark(messages: &[&ChatMessage]) -> Result<char, GenerateError> {
        let unused = |mark: &char| messages.iter().all(|message| !message.content.contains(*mark));
        MARKS.into_iter().find(unused).ok_or_else(|| {
            GenerateError::Template("they contain every one of the characters U+FDD0 to U+FDEF".to_owned())
        })
    }

    /// The text that the template makes of `messages`, each content passed through `escape`; with `asking`, it ends
    /// where the assistant's next turn begins.
    pub(crate) fn render(
        &self,
        messages: &[&ChatMessage],
        asking: bool,
        escape: impl Fn(&str) -> String,
    ) -> Result<String, GenerateError> {
        if messages.is_empty() {
            return Err(GenerateError::Template("there is no message".to_owned()));
        }
        let turns: Vec<Value> = messages
            .iter()
            .map(|message| context! { role => role_name(message.role), content => escape(&message.content) })
            .collect();
        let values = context! {
            messages => turns,
            add_generation_prompt => asking,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
        };
        self.environment.get_template(NAME).and_then(|template| template.render(values)).map_err(|error| {
            GenerateError::Template(error.detail().map_or_else(|| error.kind().to_string(), str::to_owned))
        })
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

/// Today (UTC) in the given `strftime` format; templates use it to tell the model the date.
fn strftime_now(format: &str) -> Result<String, Error> {
    let invalid = |error: &dyn std::fmt::Display| Error::new(ErrorKind::InvalidOperation, error.to_string());
    let items = time::format_description::parse_strftime_borrowed(format).map_err(|error| invalid(&error))?;
    OffsetDateTime::now_utc().format(&items).map_err(|error| invalid(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(source: &str, messages: &[ChatMessage]) -> Result<String, GenerateError> {
        let messages: Vec<&ChatMessage> = messages.iter().collect();
        ChatTemplate::parse(source, "<s>", "</s>").unwrap().render(&messages, true, str::to_owned)
    }

    fn user(content: &str) -> ChatMessage {
        ChatMessage::new(Role::User, content)
    }

    #[test]
    fn blocks_leave_no_blank_lines_and_python_methods_work() {
        let source = "{{ bos_token }}\n{% for m in messages %}\n    {% if m['role'] == 'user' %}\n\
                      {{ m.content.strip().upper() }}{{ eos_token }}\n    {% endif %}\n{% endfor %}\n\
                      {%- if add_generation_prompt %}>{% endif %}";
        assert_eq!(rendered(source, &[user(" hi ")]).unwrap(), "<s>\nHI</s>\n>");
    }

    #[test]
    fn a_template_that_refuses_says_why() {
        let source = "{% if messages[0].role != 'user' %}{{ raise_exception('a user speaks first') }}{% endif %}ok";
        assert_eq!(rendered(source, &[user("hi")]).unwrap(), "ok");
        let error = rendered(source, &[ChatMessage::new(Role::Assistant, "hi")]).unwrap_err();
        assert!(error.to_string().contains("a user speaks first"), "{error}");
        assert_eq!(error.kind(), anser_core::ErrorKind::InvalidInput);
    }

    #[test]
    fn the_date_can_be_asked_for() {
        let year = rendered("{{ strftime_now('%Y') }}", &[user("hi")]).unwrap();
        assert!(year.parse::<i32>().unwrap() >= 2024, "{year}");
    }

    #[test]
    fn an_endless_template_is_given_up() {
        let source = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        assert!(rendered(source, &[user("hi")]).is_err());
    }
}
