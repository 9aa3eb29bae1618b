import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** The case program of the Java clients: `Cases CLIENT [--list] [--restart] [--only TEXT]`. */
public final class Cases {
    static final long WAIT_MS_MAX = 20_000;

    interface Body { void run() throws Exception; }

    record Case(String name, boolean restart, Body body) {}

    final List<Case> all = new ArrayList<>();

    void add(String name, Body body) { all.add(new Case(name, false, body)); }

    void addRestart(String name, Body body) { all.add(new Case(name, true, body)); }

    static String unique(String name) { return name + "-" + UUID.randomUUID().toString().substring(0, 10); }

    static void same(Object found, Object wanted) {
        if (!Objects.deepEquals(found, wanted)) {
            throw new AssertionError(found + " instead of " + wanted);
        }
    }

    static void waitFor(String what, Callable<Boolean> fact) throws Exception { waitFor(what, WAIT_MS_MAX, fact); }

    static void waitFor(String what, long ms, Callable<Boolean> fact) throws Exception {
        long deadline = System.currentTimeMillis() + ms;
        while (!fact.call()) {
            if (System.currentTimeMillis() > deadline) throw new AssertionError("not within " + ms + " ms: " + what);
            Thread.sleep(20);
        }
    }

    /** The exception of a kind that the body ends with, or that is the cause of it. */
    static <T extends Throwable> T refused(Class<T> kind, Body body) {
        try {
            body.run();
        } catch (Throwable error) {
            for (Throwable cause = error; cause != null; cause = cause.getCause()) {
                if (kind.isInstance(cause)) return kind.cast(cause);
            }
            throw new AssertionError("another error than " + kind, error);
        }
        throw new AssertionError("nothing was refused");
    }

    static void restartServer() throws Exception {
        String[] control = System.getenv("CONTROL").split(":");
        try (Socket socket = new Socket(control[0], Integer.parseInt(control[1]))) {
            socket.getOutputStream().write("restart\n".getBytes());
            same(new BufferedReader(new InputStreamReader(socket.getInputStream())).readLine(), "ok");
        }
    }

    static String quoted(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (char letter : text.toCharArray()) {
            if (letter == '"' || letter == '\\') out.append('\\').append(letter);
            else if (letter < ' ') out.append(String.format("\\u%04x", (int) letter));
            else out.append(letter);
        }
        return out.append('"').toString();
    }

    private static void attempt(Case test, ExecutorService pool) {
        long began = System.nanoTime();
        String result = "passed";
        String detail = "";
        Future<?> running = pool.submit(() -> { test.body.run(); return null; });
        try {
            running.get(test.restart ? 180 : 60, TimeUnit.SECONDS);
        } catch (TimeoutException late) {
            result = "failed";
            detail = "did not end in time";
            running.cancel(true);
        } catch (Exception error) {
            StringWriter trace = new StringWriter();
            error.getCause().printStackTrace(new PrintWriter(trace));
            result = "failed";
            detail = trace.toString().lines().limit(25).reduce("", (all, line) -> all + line + "\n");
        }
        System.out.println("{\"case\":" + quoted(test.name) + ",\"result\":\"" + result + "\",\"seconds\":"
            + (System.nanoTime() - began) / 1e9 + ",\"detail\":" + quoted(detail) + "}");
    }

    public static void main(String[] arguments) {
        List<String> options = List.of(arguments);
        String client = options.get(0);
        boolean list = options.contains("--list");
        boolean restart = options.contains("--restart");
        int only = options.indexOf("--only");
        String text = only < 0 || only + 1 == options.size() ? "" : options.get(only + 1);
        Cases cases = new Cases();
        String version;
        if (client.equals("kafka-clients")) {
            KafkaCases.register(cases);
            version = org.apache.kafka.common.utils.AppInfoParser.getVersion();
        } else {
            AmqpCases.register(cases);
            QueueCases.register(cases);
            version = com.rabbitmq.client.impl.ClientVersion.VERSION;
        }
        System.out.println("{\"client\":" + quoted(client) + ",\"version\":" + quoted(version) + "}");
        ExecutorService pool = Executors.newCachedThreadPool(work -> {
            Thread thread = new Thread(work);
            thread.setDaemon(true);
            return thread;
        });
        for (Case test : cases.all) {
            if (test.restart != restart || !test.name.contains(text)) continue;
            if (list) System.out.println("{\"case\":" + quoted(test.name) + "}");
            else attempt(test, pool);
        }
        System.exit(0);
    }
}
