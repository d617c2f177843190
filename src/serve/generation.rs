//! The two endpoints that generate text.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use rbees_check::files::printable;

use super::answer::Answer;
use super::app::App;
use super::ask::{Ask, Streaming};
use super::chat_answer::Chat;
use super::continued::Prompt;
use super::events::Events;
use super::flight::Flight;
use super::problem::Problem;
use super::sequences::Sequences;
use super::text_answer::Text;
use super::{body, continued, conversation, parameters, whole};

/// A request whose prompts are token ids.
struct Prepared {
    prompts: Vec<Vec<u32>>,
    /// The parameter that the prompts come from.
    name: &'static str,
    ask: Ask,
}

/// `POST /v1/chat/completions`.
pub async fn chat(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let flight = app.flight("/v1/chat/completions");
    let prepared = conversation(&app, request).await;
    answered(Chat, &app, prepared, flight).await
}

async fn conversation(app: &App, request: Request) -> Result<Prepared, Problem> {
    let body = body::json(request, app.options.body, app.options.patience).await?;
    let (chat, ask) = conversation::read(body)?;
    check_name(app, &ask)?;
    log_prompt(app, || chat["messages"].to_string());
    let ids = app.aside(move |model| model.conversation(&chat)).await?;
    Ok(Prepared { prompts: vec![ids], name: parameters::MESSAGES.name, ask })
}

/// `POST /v1/completions`.
pub async fn text(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let flight = app.flight("/v1/completions");
    let prepared = prompts(&app, request).await;
    answered(Text, &app, prepared, flight).await
}

async fn prompts(app: &App, request: Request) -> Result<Prepared, Problem> {
    let body = body::json(request, app.options.body, app.options.patience).await?;
    let (prompts, ask) = continued::read(body)?;
    check_name(app, &ask)?;
    for prompt in &prompts {
        log_prompt(app, || match prompt {
            Prompt::Text(text) => text.clone(),
            Prompt::Ids(ids) => format!("{ids:?}"),
        });
    }
    let ids = app.aside(move |model| prompts.into_iter().map(|prompt| model.text(prompt)).collect()).await?;
    Ok(Prepared { prompts: ids, name: parameters::PROMPT.name, ask })
}

/// Hands a request over and answers it.
async fn answered<A: Answer + Unpin>(
    form: A,
    app: &App,
    prepared: Result<Prepared, Problem>,
    mut flight: Flight,
) -> Result<Response, Problem> {
    let Prepared { prompts, name, ask } = match prepared {
        Ok(prepared) => prepared,
        Err(problem) => {
            flight.refused(problem.status);
            return Err(problem);
        }
    };
    let choices = prompts.len() * ask.n;
    let model = app.model.clone();
    let sequences = Sequences::start(&model, (prompts, name), &ask, app.options.deadline, flight)?;
    match ask.stream {
        Streaming::On { usage } => Ok(Events::new(form, model, sequences, choices, usage).response()),
        Streaming::Off => Ok(json(whole::whole(form, model, sequences, choices).await?)),
    }
}

/// An answer of JSON.
pub fn json(text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A request may name the model; another one is not here.
fn check_name(app: &App, ask: &Ask) -> Result<(), Problem> {
    let name = &app.model.name;
    if ask.model.as_ref().is_some_and(|asked| asked != name) {
        let what = format!("model: this server has one model, {}", printable(name));
        return Err(Problem::new(StatusCode::NOT_FOUND, "model_not_found", what));
    }
    Ok(())
}

fn log_prompt(app: &App, prompt: impl Fn() -> String) {
    if let Some(say) = app.options.log_prompts {
        say(&format!("prompt: {}", printable(&prompt())));
    }
}
