//! What the engine counts.

/// What the engine has done, and what it holds now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Sequences that run now.
    pub running: usize,
    /// Sequences that wait for a place now.
    pub waiting: usize,
    /// Tokens generated so far.
    pub generated: u64,
    /// Tokens of prompts that went through the model so far.
    pub prompt_tokens: u64,
    /// Tokens of prompts that were in a kept cache.
    pub reused_tokens: u64,
    /// Forward passes so far.
    pub steps: u64,
    /// Tokens that are reserved in caches now, those of kept caches included.
    pub cache_tokens: usize,
    /// Caches that are kept now.
    pub kept: usize,
    /// Served requests that were checked again so far, see [`Engine::spot_check`](super::Engine::spot_check).
    pub spot_checked: u64,
    /// Those that could not be judged, because rounding could explain any difference.
    pub spot_unclear: u64,
    /// What was wrong in the first of them that failed.
    pub spot_failure: Option<String>,
}
