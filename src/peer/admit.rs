//! Letting replicas in: what the peer asks its replica when somebody wants to join, or is to be
//! invited.

use tokio::sync::oneshot;

use super::clock;
use super::core::Core;
use super::engine::Engine;
use super::error::SaveError;
use crate::codec::handshake::{JoinSecret, RefusalCode};
use crate::model::{PublicKey, Time};
use crate::replica::{JoinCheck, Member, Receipt};

/// Why a caller is not let in: for programs, and for people.
pub(super) type Refusal = (RefusalCode, String);

/// An answer at once, or one that waits for a save.
enum Begun {
    Done,
    Saving(oneshot::Receiver<Result<Receipt, SaveError>>),
}

impl Core {
    /// The members of the cluster; nothing once the peer has ended.
    pub(super) async fn members(&self) -> Option<Vec<Member>> {
        self.run(|engine| engine.replica.members().to_vec()).await
    }

    /// Decides whether a caller is let in, and makes it a member if it comes with a good secret.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) async fn admit(
        &self,
        key: PublicKey,
        secret: Option<JoinSecret>,
        name: String,
        addresses: Vec<String>,
    ) -> Result<(), Refusal> {
        let begun = self
            .run(move |engine| engine.admit(key, secret, &name, &addresses))
            .await;
        match begun {
            None => Err(ending()),
            Some(Err(refusal)) => Err(refusal),
            Some(Ok(Begun::Done)) => Ok(()),
            Some(Ok(Begun::Saving(saved))) => match saved.await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err((RefusalCode::Unable, error.to_string())),
                Err(_) => Err(ending()),
            },
        }
    }

    /// Makes a join token's secret, and saves that it is good until a time.
    ///
    /// # Errors
    /// If it could not be saved.
    pub(super) async fn issue_token(&self, until: Time) -> Result<JoinSecret, SaveError> {
        let begun = self
            .run(move |engine| {
                let (secret, ticket) = engine.replica.issue_token(clock::now(), until)?;
                Ok::<_, SaveError>((JoinSecret(secret), engine.wait_for(ticket)))
            })
            .await;
        let (secret, saved) = begun.ok_or(SaveError::Closed)??;
        saved.await.map_err(|_| SaveError::Closed)??;
        Ok(secret)
    }
}

fn ending() -> Refusal {
    (
        RefusalCode::ShuttingDown,
        "this replica is about to end".into(),
    )
}

impl Engine {
    fn admit(
        &mut self,
        key: PublicKey,
        secret: Option<JoinSecret>,
        name: &str,
        addresses: &[String],
    ) -> Result<Begun, Refusal> {
        let refuse = |code: RefusalCode, reason: &str| Err((code, reason.to_owned()));
        if self.replica.is_member(&key) {
            return Ok(Begun::Done);
        }
        let Some(secret) = secret else {
            let reason = "your key is not one of a member; join with a token";
            return refuse(RefusalCode::NotAMember, reason);
        };
        let now = clock::now();
        match self.replica.check_join(now, &secret.0) {
            Ok(JoinCheck::Ok) => {}
            Ok(JoinCheck::Wrong) => {
                return refuse(RefusalCode::WrongToken, "no such token was handed out");
            }
            Ok(JoinCheck::Expired) => {
                return refuse(RefusalCode::ExpiredToken, "ask a member for a new one");
            }
            Err(error) => return Err((RefusalCode::Unable, error.to_string())),
        }
        match self.replica.admit(now, key, name, addresses) {
            Ok(None) => Ok(Begun::Done),
            Ok(Some(ticket)) => Ok(Begun::Saving(self.wait_for(ticket))),
            Err(error) => Err((RefusalCode::Unable, error.to_string())),
        }
    }
}
