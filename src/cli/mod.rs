//! Floor 6: the command line. `noun verb`; data on standard output, everything for people on standard error; exit codes that
//! scripts can rely on. One small file for each noun.

mod agent;
mod audit;
mod config;
mod creds;
mod delegation;
mod demo;
mod dev;
mod doctor;
mod evidence;
mod exec;
mod explain;
mod failure;
mod inbox;
mod insights;
mod inspect;
mod keys;
mod lease;
mod login;
mod migrate;
mod output;
mod passkey;
mod policy;
mod reconcile;
mod refusal;
mod revoke;
mod saved;
mod scope;
mod serve;
mod session;
mod sessions;
mod task;
mod text;
mod whoami;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use failure::{Failure, Outcome};
use session::Session;

/// A just-in-time credential broker for AI agents and other non-human identities.
#[derive(Debug, Parser)]
#[command(
    name = "hallpass",
    version,
    about,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "Exit codes: 0 ok, 1 failure, 2 usage, 3 denied, 4 pending (with --no-wait), 5 expired or revoked,\n6 server \
                  unreachable, 7 not authenticated, 8 backend error; `exec` otherwise answers its child's own."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    session: Session,
    /// The server's configuration [default: hallpass.toml]
    #[arg(long, env = crate::app::env::CONFIG, global = true, value_name = "FILE", help_heading = "Server")]
    config: Option<PathBuf>,
    /// Print every route and who may call it
    #[arg(long, hide = true)]
    print_routes: bool,
    /// Print every kill point of a debug build
    #[arg(long, hide = true)]
    list_killpoints: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a broker to try on this machine, with throw-away keys and sample agents
    Dev(dev::DevArgs),
    /// Play the whole story unattended, and prove each step from outside
    Demo,
    /// Look at everything a broker needs, and say how to mend what is wrong
    Doctor,
    /// Start the broker
    Serve,
    /// Bring the schema up to date, before replicas of this version start
    Migrate,
    /// Say what happened to a restored or copied database, and let it be used again
    Reconcile(reconcile::ReconcileArgs),
    /// Check the configuration
    Config {
        #[command(subcommand)]
        command: config::ConfigCommand,
    },
    /// Check and test policy bundles
    Policy {
        #[command(subcommand)]
        command: policy::PolicyCommand,
    },
    /// Print the API's OpenAPI document
    Openapi,
    /// Keys of the broker
    Keys {
        #[command(subcommand)]
        command: keys::KeysCommand,
    },
    /// Run a command with credentials that live as long as it does
    Exec(exec::ExecArgs),
    /// Hand a credential to the tool that runs this, in the tool's own format
    Creds {
        #[command(subcommand)]
        command: creds::CredsCommand,
    },
    /// Open, watch and end tasks
    Task {
        #[command(subcommand)]
        command: task::TaskCommand,
    },
    /// What you may ask for
    Scope {
        #[command(subcommand)]
        command: scope::ScopeCommand,
    },
    /// Who the server thinks you are
    Whoami,
    /// Sign in with your browser; commands that call the server use the session from then on
    Login(login::LoginArgs),
    /// End the session that `login` began
    Logout,
    /// Who is signed in where
    Session {
        #[command(subcommand)]
        command: sessions::SessionCommand,
    },
    /// Requests that wait for a person
    Inbox {
        #[command(subcommand)]
        command: inbox::InboxCommand,
    },
    /// Let somebody decide in your place while you are away
    Delegation {
        #[command(subcommand)]
        command: delegation::DelegationCommand,
    },
    /// How much approvers are asked, and what could be policy
    Insights {
        #[command(subcommand)]
        command: insights::InsightsCommand,
    },
    /// What you sign with
    Passkey {
        #[command(subcommand)]
        command: passkey::PasskeyCommand,
    },
    /// What is live
    Lease {
        #[command(subcommand)]
        command: lease::LeaseCommand,
    },
    /// End authority now
    Revoke(revoke::RevokeArgs),
    /// The inventory of agents
    Agent {
        #[command(subcommand)]
        command: agent::AgentCommand,
    },
    /// What happened, to whom, and why
    Audit {
        #[command(subcommand)]
        command: audit::AuditCommand,
    },
    /// Print the version
    Version,
    /// Help, also about errors
    Help {
        /// A topic: `errors`
        topic: Option<String>,
        /// A code, e.g. policy-denied
        code: Option<String>,
    },
}

/// Parse the command line, run the command, answer its exit status.
pub fn main() -> ExitCode {
    // Two providers in one graph panic at run time, so ours is named before anything can ask; a second call is harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    let code = match run(cli) {
        Ok(code) => code,
        Err(failure) => {
            output::say(&failure.to_string());
            failure.exit.code()
        }
    };
    ExitCode::from(code)
}

fn run(cli: Cli) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(dispatch(cli));
    // What still runs in the background (a blocked read of standard input) must not keep a finished command alive.
    runtime.shutdown_background();
    code
}

async fn dispatch(cli: Cli) -> Outcome {
    let Cli { command, session, config, print_routes, list_killpoints } = cli;
    if print_routes {
        return explain::routes();
    }
    if list_killpoints {
        return explain::killpoints();
    }
    let Some(command) = command else {
        return Err(Failure::usage("there is no command").fix("run `hallpass help`"));
    };
    match command {
        Command::Dev(args) => dev::run(args).await,
        Command::Demo => demo::run().await,
        Command::Doctor => doctor::run(config.as_deref()).await,
        Command::Serve => serve::run(config.as_deref()).await,
        Command::Migrate => migrate::run(config.as_deref()).await,
        Command::Reconcile(args) => reconcile::run(args, config.as_deref(), session.output).await,
        Command::Config { command } => config::run(&command, config.as_deref()),
        Command::Policy { command } => policy::run(&command, &session),
        Command::Openapi => output::print(crate::http::openapi_document().trim_end()).map(|()| 0),
        Command::Keys { command } => keys::run(&command),
        Command::Exec(args) => exec::run(args, &session).await,
        Command::Creds { command } => creds::run(command, &session).await,
        Command::Task { command } => task::run(command, &session).await,
        Command::Scope { command } => scope::run(&command, &session).await,
        Command::Whoami => whoami::run(&session).await,
        Command::Login(args) => login::login(&args, &session).await,
        Command::Logout => login::logout(&session).await,
        Command::Session { command } => sessions::run(command, &session).await,
        Command::Inbox { command } => inbox::run(command, &session).await,
        Command::Delegation { command } => delegation::run(command, &session).await,
        Command::Insights { command } => insights::run(command, &session).await,
        Command::Passkey { command } => passkey::run(command, &session).await,
        Command::Lease { command } => lease::run(command, &session).await,
        Command::Revoke(args) => revoke::run(args, &session).await,
        Command::Agent { command } => agent::run(command, &session).await,
        Command::Audit { command } => audit::run(command, &session).await,
        Command::Version => output::print(concat!("hallpass ", env!("CARGO_PKG_VERSION"))).map(|()| 0),
        Command::Help { topic, code } => explain::help(topic.as_deref(), code.as_deref(), Cli::command()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_token_cannot_stand_on_the_command_line() {
        let mut names = Vec::new();
        let mut commands = vec![Cli::command()];
        while let Some(command) = commands.pop() {
            names.extend(command.get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned)));
            commands.extend(command.get_subcommands().cloned());
        }
        assert!(names.contains(&"token-file".to_owned()));
        for name in names {
            assert!(!["token", "secret", "password", "key"].contains(&name.as_str()), "--{name}");
        }
    }
}
