import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.HexFormat;

/** Gets each URL. */
class Fetch {
    public static void main(String[] urls) throws Exception {
        var client = HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1)
            .connectTimeout(Duration.ofSeconds(15))
            .build();
        for (var url : urls) {
            var request = HttpRequest.newBuilder(URI.create(url)).build();
            var answer = client.send(request, HttpResponse.BodyHandlers.ofByteArray());
            var digest = MessageDigest.getInstance("SHA-256").digest(answer.body());
            System.out.println(answer.statusCode() + " " + HexFormat.of().formatHex(digest));
        }
    }
}
