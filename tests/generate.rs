//! Token generation: with a cache it chooses the same tokens as greedy choice on a full forward pass, and it
//! ends at end-of-sequence ids, limits and the end of the context.

mod tiny;

use candle_core::D;
use rbees_check::generate::{Decoder, Finish, Generation, OnCache, Sampling};
use rbees_check::model::{Attention, Input, Llama};
use rstest::rstest;

const PROMPT: [u32; 5] = [3, 14, 15, 92, 65];

/// The generated tokens and the reason why the generation ended.
fn run(llama: &Llama, sampling: Sampling, max_tokens: usize, eos: &[u32]) -> (Vec<u32>, Finish) {
    let mut generation =
        Generation::start(OnCache::new(llama), PROMPT.to_vec(), sampling, max_tokens, eos).unwrap();
    let tokens = generation.by_ref().map(|step| step.unwrap().token).collect();
    assert_eq!((generation.prompt(), generation.generated()), (&PROMPT[..], &tokens as &[u32]));
    (tokens, generation.finish().unwrap())
}

#[rstest]
fn greedy_tokens_equal_the_argmax_of_a_full_forward_pass(
    #[values(Attention::Plain, Attention::Fused)] attention: Attention,
) {
    let llama = tiny::llama(attention);
    let (tokens, finish) = run(&llama, Sampling::default(), 20, &[]);
    let ids = [&PROMPT[..], &tokens].concat();
    let logits = llama.forward(&Input::single(&ids, 0), &mut llama.new_cache(), &mut ()).unwrap();
    let likeliest = logits.argmax(D::Minus1).unwrap().squeeze(0).unwrap().to_vec1::<u32>().unwrap();
    assert_eq!(tokens, likeliest[PROMPT.len() - 1..ids.len() - 1]);
    assert_eq!((tokens.len(), finish), (20, Finish::MaxTokens));
}

#[test]
fn generation_ends_after_any_end_of_sequence_id() {
    let llama = tiny::llama(Attention::Plain);
    let (free, _) = run(&llama, Sampling::default(), 20, &[]);
    let first = |id| free.iter().position(|&token| token == id).unwrap();
    for eos in [[96, free[3]], [free[3], 96]] {
        let (tokens, finish) = run(&llama, Sampling::default(), 20, &eos);
        let end = first(free[3]).min(free.iter().position(|&token| token == 96).unwrap_or(20));
        assert_eq!((tokens, finish), (free[..=end].to_vec(), Finish::EndOfSequence));
    }
}

#[test]
fn generation_ends_when_the_context_is_full() {
    let llama = tiny::llama(Attention::Fused);
    let (tokens, finish) = run(&llama, Sampling::default(), 1000, &[]);
    // The last token is sampled from a full context. It is not fed back, so it needs no room.
    assert_eq!((tokens.len(), finish), (300 - PROMPT.len() + 1, Finish::Context));
}

#[test]
fn zero_tokens_generate_nothing_and_unusable_prompts_are_refused() {
    let llama = tiny::llama(Attention::Plain);
    assert_eq!(run(&llama, Sampling::default(), 0, &[]), (vec![], Finish::MaxTokens));
    Generation::start(OnCache::new(&llama), vec![], Sampling::default(), 5, &[]).unwrap_err();
    Generation::start(OnCache::new(&llama), vec![1; 301], Sampling::default(), 5, &[]).unwrap_err();
}

#[rstest]
fn a_long_prompt_in_parts_gives_the_logits_of_one_forward_pass(
    #[values(Attention::Plain, Attention::Fused)] attention: Attention,
    #[values(127, 128, 129, 290)] length: usize,
) {
    let llama = tiny::llama(attention);
    let ids: Vec<u32> = (0..length as u32).map(|n| n * n % 97).collect();
    let whole = llama.forward(&Input::single(&ids, 0), &mut llama.new_cache(), &mut ()).unwrap();
    let last = whole.narrow(1, length - 1, 1).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let logits = OnCache::new(&llama).feed(&ids).unwrap();
    assert_eq!(logits.len(), last.len());
    for (logit, last) in logits.into_iter().zip(last) {
        approx::assert_abs_diff_eq!(logit, last, epsilon = 1e-4);
    }
}

#[test]
fn a_prompt_that_is_refused_leaves_the_cache_as_it_was() {
    let llama = tiny::llama(Attention::Plain);
    let mut decoder = OnCache::new(&llama);
    let unknown = [vec![1; 200], vec![u32::MAX]].concat();
    for prompt in [&unknown[..], &[1; 301], &[]] {
        decoder.feed(prompt).unwrap_err();
        assert_eq!(decoder.room(), 300);
    }
}

#[test]
fn equal_seeds_sample_equal_tokens_and_other_seeds_different_ones() {
    let llama = tiny::llama(Attention::Plain);
    let draw = |seed| run(&llama, Sampling { temperature: 1.5, seed, ..Sampling::default() }, 20, &[]).0;
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}
