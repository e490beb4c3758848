import java.io.IOException;
import java.util.concurrent.CountDownLatch;
import sun.misc.Signal;

/**
 * How a peer's process ends: in order on SIGTERM, and at once when the bench is gone, which its standard input shows. The
 * signal is handled here and not by a shutdown hook: hooks run side by side, and those of the system under test would pull
 * down what the orderly end still needs.
 */
public final class Ending {
  private final CountDownLatch told = new CountDownLatch(1);

  public Ending() {
    Signal.handle(new Signal("TERM"), signal -> told.countDown());
    Thread parent = new Thread(Ending::haltWithParent, "parent");
    parent.setDaemon(true);
    parent.start();
  }

  /** Returns after SIGTERM. */
  public void await() throws InterruptedException {
    told.await();
  }

  private static void haltWithParent() {
    try {
      while (System.in.read() >= 0) {}
    } catch (IOException closed) {
      // The same as its end.
    }
    Runtime.getRuntime().halt(1);
  }
}
