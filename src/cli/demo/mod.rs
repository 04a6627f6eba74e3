//! `hallpass demo`: the whole story, unattended. It starts `hallpass dev` in a folder of its own and proves each claim by asking
//! from outside: the broker's API, its introspection, the resource servers. It succeeds only if every step was seen to be true.

mod stage;
mod story;

use super::failure::{Exit, Failure, Outcome};
use super::output::print;
use stage::Stage;

/// The longest the whole story may take.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(30);

/// What was seen in a step, or what was expected and what was seen instead.
type Seen = Result<String, String>;

/// Run it.
///
/// # Errors
/// [`Failure`] when the stage cannot be set, or a step was not seen to be true.
pub(crate) async fn run() -> Outcome {
    let mut stage = Stage::set().await?;
    let told = tokio::time::timeout(LONGEST, tell(&stage)).await;
    stage.strike().await;
    match told {
        Ok(Ok(())) => {
            print("\nEvery step was seen to be true.")?;
            Ok(0)
        }
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::new(Exit::Failure, format!("the story took longer than {} s", LONGEST.as_secs()))),
    }
}

async fn tell(stage: &Stage) -> Result<(), Failure> {
    let mut story = story::Story::default();
    for (claim, step) in story::STEPS {
        match step(&mut story, stage).await {
            Ok(seen) => print(&format!("✓ ok    {claim}\n        {}", crate::app::telemetry::escape(&seen)))?,
            Err(wrong) => {
                print(&format!("✗ FAIL  {claim}"))?;
                return Err(
                    Failure::new(Exit::Failure, format!("a step was not seen to be true: {claim}")).line("seen", wrong)
                );
            }
        }
    }
    Ok(())
}
