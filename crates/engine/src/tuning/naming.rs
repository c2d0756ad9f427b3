//! Names of tuned models and of their folders.

use rand::Rng;
use rand::distr::Alphanumeric;

/// Characters that tell apart models of one base, organization and suffix.
const TAIL: usize = 8;
/// Begins the name of a folder that is still being filled.
pub(super) const PARTIAL: &str = ".partial-";
const STEP: &str = "-step-";

/// `ft:<base>:<organization>:<suffix>:<8 characters>`; an empty suffix leaves its place empty.
pub(super) fn model_id(base: &str, organization: &str, suffix: &str) -> String {
    let tail: String = rand::rng().sample_iter(Alphanumeric).take(TAIL).map(char::from).collect();
    format!("ft:{base}:{organization}:{suffix}:{tail}")
}

/// The model that a checkpoint of `model` at `step` is.
pub(super) fn checkpoint_id(model: &str, step: usize) -> String {
    format!("{model}:ckpt-step-{step}")
}

/// Folder of the checkpoint of a job.
pub(super) fn checkpoint_folder(job: &str, step: usize) -> String {
    format!("{job}{STEP}{step}")
}

/// The job that made a folder; `None` when no job did.
pub(super) fn job_of_folder(name: &str) -> Option<&str> {
    let name = name.strip_prefix(PARTIAL).unwrap_or(name);
    let job = name.rsplit_once(STEP).map_or(name, |(job, _)| job);
    job.starts_with("ftjob-").then_some(job)
}

/// What may stand in a model's name: letters, digits, `-`, `_`, `.`; white space becomes `-`.
pub(super) fn sanitize_suffix(suffix: &str) -> String {
    suffix.trim().chars().map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The base in the name of a tuned model; of any other name the name itself.
pub(super) fn root_name(model: &str) -> &str {
    let Some(rest) = model.strip_prefix("ft:") else { return model };
    // Base names may hold colons; what follows the base is three parts, or four with a checkpoint.
    let parts = if rest.contains(":ckpt-step-") { 4 } else { 3 };
    rest.rsplitn(parts + 1, ':').last().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_five_parts() {
        let id = model_id("base", "org", "house-style");
        assert!(id.starts_with("ft:base:org:house-style:"), "{id}");
        assert_eq!(id.rsplit(':').next().map(str::len), Some(TAIL));
        assert!(model_id("base", "org", "").starts_with("ft:base:org::"));
        assert_ne!(model_id("base", "org", ""), model_id("base", "org", ""));
        assert_eq!(checkpoint_id(&id, 40), format!("{id}:ckpt-step-40"));
    }

    #[test]
    fn the_base_is_read_from_a_name_even_when_it_has_colons() {
        for base in ["base", "org/a:b"] {
            let id = model_id(base, "org", "x.y");
            assert_eq!(root_name(&id), base);
            assert_eq!(root_name(&checkpoint_id(&id, 3)), base);
            assert_eq!(root_name(&model_id(base, "org", "")), base);
            assert_eq!(root_name(base), base);
        }
    }

    #[test]
    fn a_folder_names_its_job() {
        assert_eq!(job_of_folder("ftjob-1"), Some("ftjob-1"));
        assert_eq!(job_of_folder(&checkpoint_folder("ftjob-1", 7)), Some("ftjob-1"));
        assert_eq!(job_of_folder(".partial-ftjob-1-step-7"), Some("ftjob-1"));
        assert_eq!(job_of_folder("something"), None);
    }
}
