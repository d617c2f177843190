//! Laws of the token stream: it is greedy choice on a fresh forward pass, only cheaper; it ends
//! where it should.

mod tiny;

use candle_core::D;
use rbees_check::generate::{Finish, Generation, OnCache, Sampling};
use rbees_check::model::{Attention, Input, Llama};
use rstest::rstest;

const PROMPT: [u32; 5] = [3, 14, 15, 92, 65];

/// The tokens of a whole generation, and why it ended.
fn run(llama: &Llama, sampling: Sampling, max_tokens: usize, eos: &[u32]) -> (Vec<u32>, Finish) {
    let mut generation =
        Generation::start(OnCache::new(llama), PROMPT.to_vec(), sampling, max_tokens, eos).unwrap();
    let tokens = generation.by_ref().map(|step| step.unwrap().token).collect();
    assert_eq!((generation.prompt(), generation.generated()), (&PROMPT[..], &tokens as &[u32]));
    (tokens, generation.finish().unwrap())
}

#[rstest]
fn each_token_is_the_likeliest_of_a_forward_pass_without_a_cache(
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
fn it_ends_after_any_end_of_sequence_id() {
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
fn it_ends_where_the_context_does() {
    let llama = tiny::llama(Attention::Fused);
    let (tokens, finish) = run(&llama, Sampling::default(), 1000, &[]);
    // The last token is drawn from a full context and need not be fed.
    assert_eq!((tokens.len(), finish), (300 - PROMPT.len() + 1, Finish::Context));
}

#[test]
fn nothing_is_asked_for_nothing_comes() {
    let llama = tiny::llama(Attention::Plain);
    assert_eq!(run(&llama, Sampling::default(), 0, &[]), (vec![], Finish::MaxTokens));
    Generation::start(OnCache::new(&llama), vec![], Sampling::default(), 5, &[]).unwrap_err();
    Generation::start(OnCache::new(&llama), vec![1; 301], Sampling::default(), 5, &[]).unwrap_err();
}

#[test]
fn seeds_decide_what_is_drawn() {
    let llama = tiny::llama(Attention::Plain);
    let draw = |seed| run(&llama, Sampling { temperature: 1.5, seed, ..Sampling::default() }, 20, &[]).0;
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}
