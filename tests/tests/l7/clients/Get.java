import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import javax.net.ssl.SSLHandshakeException;

public class Get {
    public static void main(String[] args) throws Exception {
        var client = HttpClient.newHttpClient();
        var request = HttpRequest.newBuilder(URI.create(args[0])).build();
        // A cold virtual machine may take longer to say its hello than the engine listens for it.
        for (int tries = 1; ; tries++) {
            try {
                System.out.println(client.send(request, BodyHandlers.ofString()).body());
                return;
            } catch (SSLHandshakeException failure) {
                if (tries == 3) throw failure;
            }
        }
    }
}
