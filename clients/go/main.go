// Asks FleetML's model server for a forecast of bandwidth and about an anomaly. See README.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"math"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"fleetml/gen/novacron/ai"
)

// All rpcs only ask, so whatever the server was UNAVAILABLE for may be tried again; nothing else is.
const retries = `{"methodConfig": [{
	"name": [{"service": "novacron.ai.AIService"}],
	"retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
		"retryableStatusCodes": ["UNAVAILABLE"]}
}]}`

func main() {
	address := flag.String("address", "127.0.0.1:50051", "host:port of the server")
	trusted := flag.String("trusted", "", "PEM file of whoever signed the server's certificate (default: plaintext)")
	token := flag.String("token-file", "", "file that holds the token this client is known by")
	vm := flag.String("vm", "vm-1", "the VM that is asked about")
	points := flag.Int("points", 288, "values of the made-up history; at least as many as the model looks back")
	wait := flag.Duration("timeout", 5*time.Second, "longest wait for an answer")
	flag.Parse()
	log.SetFlags(0)
	if err := ask(*address, *trusted, *token, *vm, *points, *wait); err != nil {
		log.Fatal("error: ", err)
	}
}

func ask(address, trusted, tokenFile, vm string, points int, wait time.Duration) error {
	connection, err := connect(address, trusted)
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	if ctx, err = authorized(ctx, tokenFile); err != nil {
		return err
	}
	client := ai.NewAIServiceClient(connection)
	forecast, err := client.PredictBandwidth(ctx, &ai.BandwidthRequest{
		VmId: vm, HistoricalMetrics: history(points), HorizonMinutes: 5,
	})
	if err != nil {
		return err
	}
	fmt.Printf("forecast %v kB/s, version %s\n", forecast.GetPredictions(), forecast.GetModelVersion())
	absent := math.NaN()
	anomaly, err := client.DetectAnomaly(ctx, &ai.AnomalyRequest{VmId: vm, CurrentMetrics: &ai.VMMetrics{
		Cpu: 99, Memory: 40, DiskIo: 12, NetworkIo: 0, Latency: absent, ErrorRate: absent,
	}})
	if err != nil {
		return err
	}
	fmt.Printf("anomaly %v (%s), score %.2f, version %s\n",
		anomaly.GetIsAnomaly(), anomaly.GetAnomalyType(), anomaly.GetScore(), anomaly.GetModelVersion())
	return nil
}

func connect(address, trusted string) (*grpc.ClientConn, error) {
	security := grpc.WithInsecure()
	if trusted != "" {
		given, err := credentials.NewClientTLSFromFile(trusted, "")
		if err != nil {
			return nil, err
		}
		security = grpc.WithTransportCredentials(given)
	}
	return grpc.Dial(address, security, grpc.WithDefaultServiceConfig(retries))
}

// The token comes from a file: arguments of a process are there for all to see.
func authorized(ctx context.Context, file string) (context.Context, error) {
	if file == "" {
		return ctx, nil
	}
	token, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+strings.TrimSpace(string(token))), nil
}

// A day of made-up kB/s, one value each five minutes.
func history(points int) []float64 {
	values := make([]float64, points)
	for i := range values {
		values[i] = 100 + 50*math.Sin(2*math.Pi*float64(i)/288)
	}
	return values
}
