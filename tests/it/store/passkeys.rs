//! Passkeys and what they are to sign: rows read back as written, a challenge is used up once, a count only grows, and a place and a
//! credential belong to one.

use hallpass::domain::{Backup, ChallengeKind, Passkey, PasskeyChallenge, Person, SessionId, Shown};
use hallpass::store::StoreError;

use super::fixture::*;

impl Fixture {
    fn passkey(&self, person: &str, slot: u32) -> Passkey {
        let id = self.ids.passkey();
        Passkey {
            id,
            person: Person::new(person),
            slot: Some(slot),
            credential: format!("credential-{id}"),
            cose_key: "pQECAyYgASFYIA".to_owned(),
            sign_count: 0,
            backup: Backup::Eligible,
            aaguid: "00000000000000000000000000000000".to_owned(),
            transports: vec!["internal".to_owned()],
            name: "ann's laptop".parse().unwrap(),
            user_handle: "aGFuZGxl".to_owned(),
            registered: self.ids.event(),
            registration: "{\"kind\":\"passkey.registered\"}".to_owned(),
            created_at: START,
            last_used_at: None,
            ended_at: None,
        }
    }

    fn challenge(&self, person: &str, slot: u32) -> PasskeyChallenge {
        PasskeyChallenge {
            id: self.ids.challenge(),
            person: Person::new(person),
            slot,
            kind: ChallengeKind::Verdict,
            session: Some(SessionId::new(START, [1; 10])),
            nonce: "bm9uY2U".to_owned(),
            statement: "{\"reason\":\"a\\nb\"}".to_owned(),
            shown: Some(Shown { effect: "{}".to_owned(), request: "{\"agent\":\"\\u001f\"}".to_owned() }),
            expires_at: START.plus(ttl(120)),
        }
    }

    async fn keep(&self, passkey: &Passkey) -> Result<(), StoreError> {
        let mut tx = self.store.begin("register");
        tx.insert_passkey(passkey);
        tx.commit(self.fact()).await
    }
}

#[tokio::test]
async fn a_passkey_reads_back_and_its_place_and_its_credential_are_its_own() {
    let f = Fixture::new().await;
    let ann = Person::new("ann");
    let (one, two) = (f.passkey("ann", 0), f.passkey("ann", 1));
    f.keep(&one).await.unwrap();
    f.keep(&two).await.unwrap();
    assert_eq!(f.store.find_passkey(one.id).await.unwrap().as_ref(), Some(&one));
    assert_eq!(f.store.find_passkey_of_credential(&two.credential).await.unwrap().as_ref(), Some(&two));
    assert_eq!(f.store.list_passkeys(&ann).await.unwrap(), [one.clone(), two.clone()]);
    assert!(f.store.list_passkeys(&Person::new("bob")).await.unwrap().is_empty());
    let conflict = |answer| assert!(matches!(answer, Err(StoreError::Conflict { table: "passkey" })), "{answer:?}");
    conflict(f.keep(&f.passkey("ann", 1)).await);
    conflict(f.keep(&Passkey { credential: one.credential.clone(), ..f.passkey("bob", 0) }).await);

    assert_eq!(f.store.find_last_ended_passkey(&ann).await.unwrap(), None);
    let named = Passkey { name: "phone".parse().unwrap(), ..one.clone() };
    let ended = Passkey { slot: None, ended_at: Some(START.plus(ttl(5))), ..named.clone() };
    for (before, after) in [(&one, &named), (&named, &ended)] {
        let change = || {
            let mut tx = f.store.begin("change");
            tx.update_passkey(before, after);
            tx.commit(f.fact())
        };
        change().await.unwrap();
        assert_eq!(f.store.find_passkey(one.id).await.unwrap().as_ref(), Some(after));
        conflict(change().await);
    }
    assert_eq!(f.store.find_last_ended_passkey(&ann).await.unwrap().as_ref(), Some(&ended));
    assert_eq!(f.store.list_passkeys(&ann).await.unwrap(), [two]);
    f.keep(&f.passkey("ann", 0)).await.unwrap();
    conflict(f.keep(&Passkey { credential: one.credential, ..f.passkey("ann", 2) }).await);
}

#[tokio::test]
async fn a_count_only_grows_and_one_that_does_not_count_stays_at_nothing() {
    let f = Fixture::new().await;
    let passkey = f.passkey("ann", 0);
    f.keep(&passkey).await.unwrap();
    let used = async |count: u32, at: i64| {
        let after = Passkey {
            sign_count: count,
            backup: Backup::BackedUp,
            last_used_at: Some(START.plus(ttl(at))),
            ..passkey.clone()
        };
        let mut tx = f.store.begin("use");
        tx.use_passkey(&after);
        tx.commit(f.fact()).await.map(|()| after)
    };
    for (count, fits) in [(0, true), (0, true), (5, true), (5, false), (4, false), (0, false), (6, true)] {
        let answer = used(count, i64::from(count) + 1).await;
        match answer {
            Ok(after) if fits => assert_eq!(f.store.find_passkey(after.id).await.unwrap(), Some(after)),
            Err(StoreError::Conflict { table: "passkey" }) if !fits => {}
            other => panic!("{count}: {other:?}"),
        }
    }
    // Two in one group are written one after the other.
    let (one, other) = tokio::join!(used(7, 7), used(8, 8));
    assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
    let ended = Passkey { slot: None, ended_at: Some(START), ..passkey.clone() };
    let mut tx = f.store.begin("end");
    tx.update_passkey(&passkey, &ended);
    tx.commit(f.fact()).await.unwrap();
    assert!(matches!(used(9, 9).await, Err(StoreError::Conflict { table: "passkey" })));
}

#[tokio::test]
async fn a_challenge_is_used_up_once_or_forgotten() {
    let f = Fixture::new().await;
    let ann = Person::new("ann");
    let (one, two) = (f.challenge("ann", 0), PasskeyChallenge { shown: None, session: None, ..f.challenge("ann", 1) });
    f.store.remember_passkey_challenge(&one).await.unwrap();
    f.store.remember_passkey_challenge(&two).await.unwrap();
    let taken = f.store.remember_passkey_challenge(&f.challenge("ann", 1)).await;
    assert!(matches!(taken, Err(StoreError::Conflict { table: "passkey_challenge" })), "{taken:?}");
    assert_eq!(f.store.find_passkey_challenge(one.id).await.unwrap().as_ref(), Some(&one));
    assert_eq!(f.store.list_passkey_challenges(&ann).await.unwrap(), [one.clone(), two.clone()]);
    let use_up = || {
        let mut tx = f.store.begin("use up");
        tx.delete_passkey_challenge(one.id);
        tx.commit(f.fact())
    };
    let (first, second) = tokio::join!(use_up(), use_up());
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    assert!(matches!(use_up().await, Err(StoreError::Conflict { table: "passkey_challenge" })));
    assert_eq!(f.store.find_passkey_challenge(one.id).await.unwrap(), None);
    assert_eq!(f.store.forget(START.plus(ttl(119))).await.unwrap(), 0);
    assert_eq!(f.store.forget(START.plus(ttl(120))).await.unwrap(), 1);
    assert_eq!(f.store.list_passkey_challenges(&ann).await.unwrap(), []);
}
