import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import software.amazon.dynamodb.services.local.main.ServerRunner;
import software.amazon.dynamodb.services.local.server.DynamoDBProxyServer;

/**
 * DynamoDB Local on the loopback interface: its own command line listens on every interface and has no option
 * against it. The arguments are those of its command line. It ends with its standard input, so it never outlives
 * who started it.
 */
public class LoopbackDynamoDB {
    public static void main(String[] arguments) throws Exception {
        DynamoDBProxyServer dynamoDb = ServerRunner.createServerFromCommandLineArgs(arguments);
        var field = DynamoDBProxyServer.class.getDeclaredField("server");
        field.setAccessible(true);
        ((ServerConnector) ((Server) field.get(dynamoDb)).getConnectors()[0]).setHost("127.0.0.1");
        dynamoDb.start();
        while (System.in.read() >= 0) {
        }
        System.exit(0);
    }
}
