//! The engine: a request has the same tokens, text and logits whatever other requests share its steps; places, queue,
//! deadlines, the end, and what happens after a panic.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use candle_core::{DType, Device};
use rbees_check::Result;
use rbees_check::engine::{Engine, Event, Limits, Listener, Refusal, Request, Scheduler, Token};
use rbees_check::generate::{Finish, Generation, OnCache, Sampling};
use rbees_check::model::{Attention, Llama, Matmul, Path};
use rbees_check::models;
use rbees_check::tokenizer::Tokenizer;
use rstest::rstest;

const LIMITS: Limits = Limits { running: 8, waiting: 8, step_tokens: 32, cache_tokens: 4096, kept: 0 };

/// How long a test waits for an event that must come.
const LONG: Duration = Duration::from_secs(60);

fn model(name: &str, path: Path) -> (Arc<Llama>, Arc<Tokenizer>) {
    let (weights, tokenizer) = match name {
        "tiny-llama" => {
            let model = models::open(name).unwrap();
            (model.weights.clone(), model.tokenizer().unwrap().clone())
        }
        file => {
            let file = PathBuf::from("fixtures").join(file);
            let model = models::open(file.to_str().unwrap()).unwrap();
            (model.weights.clone(), model.tokenizer().unwrap().clone())
        }
    };
    (Arc::new(Llama::load(&weights, &Device::Cpu, DType::F32, path).unwrap()), Arc::new(tokenizer))
}

fn tiny_llama() -> (Arc<Llama>, Arc<Tokenizer>) {
    model("tiny-llama", Path { attention: Attention::Plain, matmul: Matmul::Dense })
}

fn engine(limits: Limits) -> Engine {
    let (model, tokenizer) = tiny_llama();
    Engine::start(model, tokenizer, limits).unwrap()
}

/// A greedy request for `max_tokens`, with the likelihoods of many tokens.
fn request(prompt: &[u32], max_tokens: usize) -> Request {
    Request {
        prompt: prompt.to_vec(),
        sampling: Sampling::default(),
        max_tokens,
        end: vec![],
        stops: vec![],
        others: Some(100),
        deadline: None,
    }
}

/// Prompt number `n`, of `len` tokens.
fn prompt(n: u32, len: u32) -> Vec<u32> {
    (0..len).map(|i| 3 + (i * 31 + n * 57 + i * i * (n + 1)) % 250).collect()
}

/// Sends events to a channel.
struct Ear {
    events: Sender<Event>,
    gone: Arc<AtomicBool>,
    /// Waits for this before it takes the first event.
    gate: Option<Receiver<()>>,
}

impl Listener for Ear {
    fn hear(&mut self, event: Event) {
        if let Some(gate) = self.gate.take() {
            gate.recv_timeout(LONG).expect("the test opens the gate");
        }
        let _ = self.events.send(event);
    }

    fn gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }
}

/// A client that leaves as soon as it has heard a token.
struct LeavesAfterOneToken {
    events: Sender<Event>,
    gone: bool,
}

impl Listener for LeavesAfterOneToken {
    fn hear(&mut self, event: Event) {
        self.gone |= matches!(event, Event::Token(_));
        let _ = self.events.send(event);
    }

    fn gone(&self) -> bool {
        self.gone
    }
}

/// A listener, what it hears, and the switch that says that it is gone.
fn ear() -> (Ear, Receiver<Event>, Arc<AtomicBool>) {
    let (events, heard) = channel();
    let gone = Arc::new(AtomicBool::new(false));
    (Ear { events, gone: gone.clone(), gate: None }, heard, gone)
}

/// Submits a request that must be accepted.
fn submit(engine: &Engine, request: Request) -> Receiver<Event> {
    let (ear, heard, _) = ear();
    engine.submit(request, Box::new(ear)).unwrap();
    heard
}

/// Submits a request that holds the engine's thread after its prompt, until the sender is used.
fn submit_held(engine: &Engine, request: Request) -> (Receiver<Event>, Sender<()>) {
    let (mut ear, heard, _) = ear();
    let (open, gate) = channel();
    ear.gate = Some(gate);
    engine.submit(request, Box::new(ear)).unwrap();
    (heard, open)
}

/// What a request heard until its end.
#[derive(Debug, PartialEq)]
struct Heard {
    reused: usize,
    tokens: Vec<Token>,
    finish: Finish,
}

impl Heard {
    fn ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|token| token.step.token).collect()
    }

    fn text(&self) -> String {
        self.tokens.iter().map(|token| token.text.as_str()).collect()
    }
}

fn until_the_end(heard: &Receiver<Event>) -> Heard {
    let mut all = Heard { reused: usize::MAX, tokens: vec![], finish: Finish::Error };
    loop {
        match heard.recv_timeout(LONG).expect("the engine goes on") {
            Event::Started { reused } => all.reused = reused,
            Event::Token(token) => all.tokens.push(token),
            Event::Finished(finish) => {
                all.finish = finish;
                return all;
            }
            Event::Failed(error) => panic!("{error}"),
        }
    }
}

/// For each token that was heard, the bits of its gap, and the bits of the likelihoods with their tokens.
fn bits(heard: &Heard) -> Vec<(u32, Vec<(u32, u64)>)> {
    let of = |token: &Token| {
        let (own, others) = token.likelihoods.clone().unwrap();
        let all = [own].into_iter().chain(others);
        (token.step.gap.to_bits(), all.map(|one| (one.token, one.raw.to_bits())).collect())
    };
    heard.tokens.iter().map(of).collect()
}

#[rstest]
#[case::dense("tiny-llama", Matmul::Dense)]
#[case::q8_0_dense("tiny-llama/gguf/tiny-llama-q8_0.gguf", Matmul::Dense)]
#[case::q8_0_quantized("tiny-llama/gguf/tiny-llama-q8_0.gguf", Matmul::Quantized)]
fn eight_requests_that_share_steps_get_the_bits_that_each_gets_alone(
    #[case] name: &str,
    #[case] matmul: Matmul,
    #[values(Attention::Plain, Attention::Fused)] attention: Attention,
) {
    let (model, tokenizer) = model(name, Path { attention, matmul });
    // Prompts of one to three pieces, which end in different steps.
    let requests: Vec<Request> = (0..8).map(|n| request(&prompt(n, 5 + 7 * n), 12 + n as usize)).collect();

    let together = Engine::start(model.clone(), tokenizer.clone(), LIMITS).unwrap();
    let (first, open) = submit_held(&together, requests[0].clone());
    let others: Vec<_> = requests[1..].iter().map(|request| submit(&together, request.clone())).collect();
    open.send(()).unwrap();
    let heard: Vec<Heard> = [first].iter().chain(&others).map(until_the_end).collect();
    let shared_steps = together.figures().steps;

    let alone = Engine::start(model, tokenizer, LIMITS).unwrap();
    for (n, (request, heard)) in requests.iter().zip(&heard).enumerate() {
        let own = until_the_end(&submit(&alone, request.clone()));
        assert_eq!((own.finish, own.tokens.len()), (Finish::MaxTokens, 12 + n));
        assert_eq!(heard.text(), own.text());
        assert_eq!(bits(heard), bits(&own), "request {n}");
    }
    assert!(shared_steps * 3 < alone.figures().steps, "{shared_steps} steps were not shared");
}

/// Logits of every step of a text that is given token by token after its prompt.
fn logits(scheduler: &mut Scheduler, watched: usize, next: &[u32]) -> Vec<Vec<f32>> {
    let (mut all, mut next) = (vec![], next.iter());
    loop {
        let plan = scheduler.plan();
        assert!(!plan.parts.is_empty(), "the watched sequence has tokens");
        let sampled = scheduler.run(&plan, &mut ()).unwrap();
        for one in sampled {
            if one.sequence != watched {
                scheduler.push(one.sequence, 7 + one.sequence as u32).unwrap();
                continue;
            }
            all.push(one.logits);
            match next.next() {
                Some(&id) => scheduler.push(watched, id).unwrap(),
                None => return all,
            }
        }
    }
}

/// In every family: with sliding windows, softcaps, norms of heads, scaled rotations and biases.
#[rstest]
fn logits_of_a_sequence_are_the_same_bits_beside_others_in_every_family(
    #[values(
        "tiny-gemma2-q8_0/tiny-gemma2-q8_0.gguf",
        "tiny-gemma3-q8_0/tiny-gemma3-q8_0.gguf",
        "tiny-llama3-q8_0/tiny-llama3-q8_0.gguf",
        "tiny-mistral-q8_0/tiny-mistral-q8_0.gguf",
        "tiny-qwen2-q8_0/tiny-qwen2-q8_0.gguf",
        "tiny-qwen3-q8_0/tiny-qwen3-q8_0.gguf"
    )]
    file: &str,
    #[values(Matmul::Dense, Matmul::Quantized)] matmul: Matmul,
) {
    let (model, _) = model(file, Path { attention: Attention::Plain, matmul });
    assert!(model.repeats_bits());
    let (text, next) = (prompt(3, 23), [5, 6, 7, 8]);
    let mut alone = Scheduler::new(model.clone(), 9, 64);
    let watched = alone.open(&text).unwrap().sequence;
    let right = logits(&mut alone, watched, &next);
    assert_eq!(right.len(), 5);

    let mut beside = Scheduler::new(model, 9, 64);
    for n in 0..3 {
        beside.open(&prompt(10 + n, 4 + 9 * n)).unwrap();
    }
    let watched = beside.open(&text).unwrap().sequence;
    beside.open(&prompt(20, 31)).unwrap();
    let shared = logits(&mut beside, watched, &next);
    let bits = |logits: &[Vec<f32>]| logits.concat().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert!(bits(&shared) == bits(&right), "some bits differ");
}

#[test]
fn a_prompt_is_read_in_pieces_that_leave_room_for_every_other_sequence() {
    let (model, tokenizer) = tiny_llama();
    let limits = Limits { running: 2, step_tokens: 5, ..LIMITS };
    let engine = Engine::start(model.clone(), tokenizer, limits).unwrap();
    let heard = until_the_end(&submit(&engine, request(&prompt(1, 20), 6)));
    // Seven pieces of at most three tokens, then one step for each token but the last.
    assert_eq!(engine.figures().steps, 7 + 5);
    assert_eq!((engine.figures().prompt_tokens, engine.figures().generated), (20, 6));
    let alone = Generation::start(OnCache::new(&model), prompt(1, 20), Sampling::default(), 6, &[]).unwrap();
    assert_eq!(heard.ids(), alone.map(|step| step.unwrap().token).collect::<Vec<_>>());
}

#[test]
fn the_next_turn_of_a_conversation_reuses_its_cache_and_gets_the_same_tokens() {
    let engine = engine(Limits { kept: 2, ..LIMITS });
    let fresh = self::engine(LIMITS);
    let first = until_the_end(&submit(&engine, request(&prompt(1, 20), 6)));
    assert_eq!((first.reused, engine.figures().kept), (0, 1));

    // The last token was never fed, so it is in no cache.
    let turn = [prompt(1, 20), first.ids(), prompt(5, 9)].concat();
    let second = until_the_end(&submit(&engine, request(&turn, 6)));
    assert_eq!((second.reused, engine.figures().reused_tokens, engine.figures().kept), (25, 25, 1));
    assert_eq!(second.ids(), until_the_end(&submit(&fresh, request(&turn, 6))).ids());

    // Another branch of the same conversation takes a part of the cache, and leaves it as it is.
    let branch = [&turn[..30], &prompt(6, 9)].concat();
    let third = until_the_end(&submit(&engine, request(&branch, 6)));
    assert_eq!((third.reused, engine.figures().kept), (30, 2));
    assert_eq!(third.ids(), until_the_end(&submit(&fresh, request(&branch, 6))).ids());
    let again = until_the_end(&submit(&engine, request(&[&turn[..], &second.ids()].concat(), 1)));
    assert_eq!(again.reused, turn.len() + 5);

    // A prompt that is in a cache as a whole still runs its last token.
    assert_eq!(until_the_end(&submit(&engine, request(&turn, 1))).reused, turn.len() - 1);
    assert_eq!(until_the_end(&submit(&engine, request(&prompt(9, 40), 1))).reused, 0);
}

#[test]
fn a_listener_that_is_gone_frees_its_place_and_hears_nothing_more() {
    let engine = engine(Limits { running: 1, ..LIMITS });
    let (events, heard) = channel();
    engine
        .submit(request(&prompt(1, 5), 1000), Box::new(LeavesAfterOneToken { events, gone: false }))
        .unwrap();
    let waits = submit(&engine, request(&prompt(2, 5), 3));
    assert_eq!(until_the_end(&waits).tokens.len(), 3);
    let heard: Vec<Event> = heard.iter().collect();
    assert!(matches!(heard[..], [Event::Started { reused: 0 }, Event::Token(_)]), "{heard:?}");
    let figures = engine.figures();
    assert_eq!((figures.running, figures.generated), (0, 1 + 3));
}

#[test]
fn a_request_beyond_the_queue_is_refused_and_a_place_in_the_queue_becomes_free() {
    let engine = engine(Limits { running: 1, waiting: 1, ..LIMITS });
    let (held, open) = submit_held(&engine, request(&prompt(1, 5), 2));
    let waits = submit(&engine, request(&prompt(2, 5), 2));
    let refused = engine.submit(request(&prompt(3, 5), 2), Box::new(ear().0));
    assert!(matches!(refused, Err(Refusal::Full)), "{refused:?}");
    open.send(()).unwrap();
    assert_eq!((until_the_end(&held).tokens.len(), until_the_end(&waits).tokens.len()), (2, 2));
    until_the_end(&submit(&engine, request(&prompt(3, 5), 2)));
}

#[test]
fn requests_that_cannot_run_are_refused_with_the_reason() {
    let engine = engine(Limits { cache_tokens: 50, ..LIMITS });
    let refused = |request| engine.submit(request, Box::new(ear().0)).unwrap_err();
    assert!(matches!(refused(request(&prompt(1, 40), 11)), Refusal::TooLong { tokens: 51, limit: 50 }));
    let long = refused(request(&prompt(1, 5000), 1));
    assert!(matches!(long, Refusal::TooLong { tokens: 5000, limit } if limit < 5000));
    for (bad, why) in [
        (request(&[], 1), "no tokens"),
        (request(&[1 << 20], 1), "outside the vocabulary"),
        (Request { stops: vec![String::new()], ..request(&[5], 1) }, "stop string"),
        (
            Request { sampling: Sampling { temperature: -1.0, ..Sampling::default() }, ..request(&[5], 1) },
            "temperature",
        ),
    ] {
        match refused(bad) {
            Refusal::Bad(error) => assert!(error.to_string().contains(why), "{error}"),
            other => panic!("{other:?}"),
        }
    }
    let few = Limits { running: 8, step_tokens: 8, ..LIMITS };
    assert!(few.validate().unwrap_err().to_string().contains("no room for a prompt"));
}

#[test]
fn requests_wait_until_their_tokens_fit_into_the_caches() {
    let engine = engine(Limits { cache_tokens: 50, kept: 4, ..LIMITS });
    let (first, open) = submit_held(&engine, request(&prompt(1, 20), 10));
    let second = submit(&engine, request(&prompt(2, 20), 10));
    open.send(()).unwrap();
    assert!(matches!(first.recv_timeout(LONG), Ok(Event::Started { .. })));
    assert!(matches!(first.recv_timeout(LONG), Ok(Event::Token(_))));
    let figures = engine.figures();
    assert!(figures.running <= 1 && figures.cache_tokens <= 50, "{figures:?}");
    until_the_end(&second);
    // The cache of the first was dropped, because the second needed its room.
    assert_eq!((engine.figures().cache_tokens, engine.figures().kept), (29, 1));
}

#[test]
fn a_deadline_ends_a_sequence_that_runs_and_one_that_waits() {
    let engine = engine(Limits { running: 1, ..LIMITS });
    let soon = Instant::now() + Duration::from_millis(20);
    let (runs, open) = submit_held(&engine, Request { deadline: Some(soon), ..request(&prompt(1, 5), 250) });
    let waits = submit(&engine, Request { deadline: Some(soon), ..request(&prompt(2, 5), 250) });
    std::thread::sleep(Duration::from_millis(40));
    open.send(()).unwrap();
    let (runs, waits) = (until_the_end(&runs), until_the_end(&waits));
    assert_eq!((runs.finish, waits.finish), (Finish::Deadline, Finish::Deadline));
    assert!(runs.tokens.len() < 250 && waits.tokens.is_empty());
}

#[test]
fn an_engine_that_stops_finishes_what_runs_and_waits_and_accepts_nothing_more() {
    let engine = engine(Limits { running: 1, ..LIMITS });
    let (runs, open) = submit_held(&engine, request(&prompt(1, 5), 5));
    let waits = submit(&engine, request(&prompt(2, 5), 5));
    engine.stop();
    let refused = engine.submit(request(&prompt(3, 5), 5), Box::new(ear().0));
    assert!(matches!(refused, Err(Refusal::Stopping)), "{refused:?}");
    assert!(engine.alive());
    open.send(()).unwrap();
    assert_eq!((until_the_end(&runs).tokens.len(), until_the_end(&waits).tokens.len()), (5, 5));
    engine.join().unwrap();
}

/// Panics at the first token.
struct Panics;

impl Listener for Panics {
    fn hear(&mut self, event: Event) {
        assert!(!matches!(event, Event::Token(_)), "a listener panics on purpose");
    }

    fn gone(&self) -> bool {
        false
    }
}

#[test]
fn after_a_panic_every_listener_hears_that_its_sequence_failed() {
    let engine = engine(Limits { running: 2, ..LIMITS });
    let (runs, open) = submit_held(&engine, request(&prompt(1, 5), 250));
    engine.submit(request(&prompt(2, 5), 250), Box::new(Panics)).unwrap();
    let waits = submit(&engine, request(&prompt(3, 5), 5));
    open.send(()).unwrap();
    for heard in [runs, waits] {
        let last = heard.iter().last();
        assert!(
            matches!(&last, Some(Event::Failed(error)) if error.to_string().contains("on purpose")),
            "{last:?}"
        );
    }
    assert!(!engine.alive());
    let refused = engine.submit(request(&prompt(4, 5), 5), Box::new(ear().0));
    assert!(matches!(refused, Err(Refusal::Stopping)), "{refused:?}");
    let error = engine.join().unwrap_err().to_string();
    assert!(error.contains("the engine's thread panicked: a listener panics on purpose"), "{error}");
}

#[test]
fn stop_strings_end_tokens_and_seeds_work_as_in_a_continuation() -> Result<()> {
    let engine = engine(LIMITS);
    let whole = until_the_end(&submit(&engine, request(&prompt(1, 5), 30)));
    let text = whole.text();
    let stop: String = text.chars().skip(text.chars().count() / 2).take(3).collect();
    let stopped =
        until_the_end(&submit(&engine, Request { stops: vec![stop.clone()], ..request(&prompt(1, 5), 30) }));
    assert_eq!(
        (stopped.finish, stopped.text().as_str()),
        (Finish::StopString, text.split(&stop).next().unwrap())
    );

    let end = whole.ids()[4];
    let ended = until_the_end(&submit(&engine, Request { end: vec![end], ..request(&prompt(1, 5), 30) }));
    let first = whole.ids().iter().position(|&id| id == end).unwrap();
    assert_eq!((ended.finish, ended.ids()), (Finish::EndOfSequence, whole.ids()[..=first].to_vec()));

    let sampling = Sampling { temperature: 1.3, seed: 11, ..Sampling::default() };
    let seeded = || Request { sampling: sampling.clone(), ..request(&prompt(1, 5), 30) };
    let (a, b) = (submit(&engine, seeded()), submit(&engine, seeded()));
    assert_eq!(until_the_end(&a).ids(), until_the_end(&b).ids());
    let none = until_the_end(&submit(&engine, request(&prompt(1, 5), 0)));
    assert_eq!((none.finish, none.tokens.len()), (Finish::MaxTokens, 0));
    Ok(())
}

#[test]
fn an_idle_engine_checks_served_requests_again() {
    let engine = engine(LIMITS);
    engine.spot_check(2);
    for n in 0..4 {
        until_the_end(&submit(&engine, request(&prompt(n, 5), 20)));
    }
    let start = Instant::now();
    while engine.figures().spot_checked < 2 {
        assert!(start.elapsed() < LONG, "{:?}", engine.figures());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!((engine.figures().spot_failure, engine.figures().spot_unclear), (None, 0));
}

/// Counts the sequences that run, so that a test sees that they never are more than allowed.
#[test]
fn no_more_sequences_run_than_places_exist() {
    struct Counts(Arc<Mutex<(usize, usize)>>, Sender<()>);
    impl Listener for Counts {
        fn hear(&mut self, event: Event) {
            let mut counts = self.0.lock().unwrap();
            match event {
                Event::Started { .. } => counts.0 += 1,
                Event::Token(_) => {}
                Event::Finished(_) | Event::Failed(_) => {
                    counts.0 -= 1;
                    let _ = self.1.send(());
                }
            }
            counts.1 = counts.1.max(counts.0);
        }

        fn gone(&self) -> bool {
            false
        }
    }
    let engine = engine(Limits { running: 3, waiting: 20, ..LIMITS });
    let (counts, (ended, ends)) = (Arc::new(Mutex::new((0, 0))), channel());
    for n in 0..12 {
        let listener = Counts(counts.clone(), ended.clone());
        engine.submit(request(&prompt(n, 5 + n), 5), Box::new(listener)).unwrap();
    }
    (0..12).for_each(|_| ends.recv_timeout(LONG).unwrap());
    assert_eq!(*counts.lock().unwrap(), (0, 3));
}
