//! The simulated Livy, on which the other tests stand, answers as the real one does.

use fake_livy::{Auth, FakeLivy, Progress, Version};

use crate::conversation::everything;
use crate::support::{Caller, Livy, Spark, difference, releases};

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_with_the_simulated_livy_goes_as_with_the_real_one() {
    for release in releases() {
        let livy = Livy::start(&release, Spark::Fake).await;
        let simulated = FakeLivy::builder()
            .version(if release.is_0_7() {
                Version::V0_7_1
            } else {
                Version::V0_9_0
            })
            .auth(Auth::Pseudo)
            .superuser("gw")
            .impersonation(true)
            .access_control(true)
            .progress(Progress::AtOnce)
            .local_files(&livy.files().display().to_string())
            .start()
            .await;

        let real = everything(&livy.direct_as("alice"), 1, livy.files()).await;
        let caller = Caller::new(simulated.port(), "", "user.name=gw&doAs=alice");
        let simulation = everything(&caller, 2, livy.files()).await;

        let differences: Vec<_> = real
            .iter()
            .zip(&simulation)
            .filter_map(|(real, simulated)| {
                let difference = difference(&real.reply, &simulated.reply)?;
                Some(format!("{}, real and simulated: {difference}", real.asked))
            })
            .collect();
        assert_eq!(differences, [""; 0]);
        assert_eq!(real.len(), simulation.len());
    }
}
